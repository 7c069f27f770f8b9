"""What the formats are made of: YAML, TOML, JSON, quoting, moments, the shape of secrets."""
