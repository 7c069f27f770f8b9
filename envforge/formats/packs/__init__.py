"""What carries an environment to other places."""
