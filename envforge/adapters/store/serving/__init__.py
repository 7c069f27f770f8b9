"""Hardlinks for users who do not own the store: the service, who asks it, what they say."""
