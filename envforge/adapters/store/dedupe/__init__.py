"""Existing caches, whose equal files become links of one.

| module | what it does |
|---|---|
| `tree.py` | finds the copies, never through a symbolic link |
| `claims.py` | reads what a cache says of a file whose name says nothing |
| `folders.py` | enters a folder again, if it is still the one that was seen |
| `reading.py` | hashes, samples and compares |
| `replacing.py` | puts a link in the place of a copy, in one step |
| `exchanging.py` | the same, where people may be at work on the copy |
| `journal.py` | what is about to be replaced, and how to undo it |
| `engine.py` | carries out a plan, with threads |
| `adopting.py` | the same, with a store's file as the one that is kept |
"""
