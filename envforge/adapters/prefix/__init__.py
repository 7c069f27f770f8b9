"""What lies in an environment: records, wheels, scripts, the interpreter and what it tells."""
