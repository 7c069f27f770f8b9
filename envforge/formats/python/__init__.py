"""What Python's packaging standards and pip write."""
