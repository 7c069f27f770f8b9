"""Archives that carry environments to machines without a network: written, read, and opened."""
