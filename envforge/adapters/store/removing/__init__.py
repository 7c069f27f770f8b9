"""What goes from a store, and what keeps it there."""
