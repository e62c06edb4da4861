"""A site's part of a run: what takes tasks from the server, has them done, and returns the replies."""
