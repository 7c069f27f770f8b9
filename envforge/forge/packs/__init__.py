"""Environments as one file, there and back."""
