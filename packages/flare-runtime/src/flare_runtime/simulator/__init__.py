"""The simulator: a whole federation in processes of one machine."""
