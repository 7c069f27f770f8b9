"""What stands around an environment: outputs for others, variables, verdicts, pages. Pure."""
