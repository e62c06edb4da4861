"""The server's daemon: sites connect to it, administrators submit jobs to it, and it runs each job in a process."""
