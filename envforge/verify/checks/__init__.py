"""The checks, by what they look at; ids and order are in `verify.registry`."""
