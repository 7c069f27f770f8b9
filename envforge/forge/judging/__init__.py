"""`verify`: what was named is found, looked at and judged."""
