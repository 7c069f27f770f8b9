"""Files for other tools: which there are, and what each one holds."""
