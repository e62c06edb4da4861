"""Sessions of administrators."""
