"""Which Python, PyTorch, CUDA, driver and GPU combinations exist, and which run."""
