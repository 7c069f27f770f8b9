"""The shared model cache, one module a task."""
