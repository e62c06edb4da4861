"""A device in Python: the standard library and NumPy alone."""
