"""Does it work here?"""
