"""Watching a program from the kernel's side: what it opens, what it maps, whom it calls."""
