"""From what was asked for to a lock."""
