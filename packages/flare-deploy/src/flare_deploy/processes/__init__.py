"""Processes: daemons, and those that a daemon starts for a job."""
