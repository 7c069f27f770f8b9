"""models.yml and models-lock.yml."""
