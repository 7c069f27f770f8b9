"""What lies in a store, in its views and on its disk; nothing is changed."""
