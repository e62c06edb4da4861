"""Statistics in a notebook."""
