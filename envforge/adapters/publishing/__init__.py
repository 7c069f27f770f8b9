"""Environments published under one root: versions, the link to one of them, and who uses them."""
