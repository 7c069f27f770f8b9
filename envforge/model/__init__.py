"""What things are: frozen data without input or output."""
