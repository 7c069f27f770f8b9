"""Files on their way into the store: one process fetches, the others wait."""
