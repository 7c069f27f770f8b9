"""A spec becomes a lock."""
