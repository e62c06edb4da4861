"""A site's daemon: it connects to the server, and runs each job that it is sent in a process."""
