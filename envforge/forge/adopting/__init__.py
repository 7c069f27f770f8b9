"""`adopt`: somebody else's environment becomes a folder of ours.

find → draft → pins → adopt: what is in it, what it becomes, what of that can be had.
"""
