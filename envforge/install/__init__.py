"""A lock becomes a prefix."""
