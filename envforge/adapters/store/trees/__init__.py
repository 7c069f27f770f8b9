"""Cache trees that hang on the store, in folders that belong to somebody else."""
