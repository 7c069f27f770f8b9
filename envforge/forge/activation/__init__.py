"""What activation sets: written into prefixes, explained, and the caches that it names."""
