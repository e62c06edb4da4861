"""Communication between the parties of a job, and the services that use it."""
