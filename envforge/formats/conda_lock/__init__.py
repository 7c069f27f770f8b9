"""conda-lock.yml: written, and read quickly or strictly."""
