"""What of a machine is in the way of everybody, by topic; `server_checks.TOPICS` is the table."""
