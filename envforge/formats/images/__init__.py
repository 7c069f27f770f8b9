"""What a Dockerfile installs."""
