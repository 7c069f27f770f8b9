"""Text to model and back, pure; one module a file format."""
