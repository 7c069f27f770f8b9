"""`bench`: interpreters are found, timed in turns, and what came of it is judged."""
