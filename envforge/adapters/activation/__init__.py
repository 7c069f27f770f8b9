"""What is written into a prefix for activation, and the compiled code that lies beside it."""
