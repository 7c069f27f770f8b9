"""Questions about the whole machine and everybody on it."""
