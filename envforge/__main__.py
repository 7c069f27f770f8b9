"""`python -m envforge`."""

from envforge.cli import main

main()
