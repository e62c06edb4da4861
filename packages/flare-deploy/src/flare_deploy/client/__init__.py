"""The client of a site: it connects to the server and runs each job that it is sent in a process of its own."""
