"""Which variables an environment sets and why, and what may go from its compile caches."""
