"""A lock among people: what differs, what is stale, what may move, what is packed. Pure."""
