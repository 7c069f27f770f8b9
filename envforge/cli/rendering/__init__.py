"""What commands answer: as text, as JSON, and as other programs read it."""
