"""A session line by line, for scripts and screen readers."""
