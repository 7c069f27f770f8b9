"""What concerns everybody on a server, and who holds the memory of its GPUs."""
