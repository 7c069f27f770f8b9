"""What is done with locks that are there, whoever wrote them."""
