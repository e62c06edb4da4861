"""The server: sites connect to it, administrators submit jobs to it, and it runs each job in a process of its own."""
