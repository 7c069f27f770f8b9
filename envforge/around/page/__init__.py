"""What the page of `envforge report` shows, row by row."""
