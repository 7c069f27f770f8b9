"""conda's own: what is asked for, explicit lists, and what a prefix notes."""
