"""From a lock to a prefix, and into it."""
