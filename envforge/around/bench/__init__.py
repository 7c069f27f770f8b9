"""How long models take in an environment: the program that times, and what its numbers prove."""
