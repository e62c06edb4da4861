"""Daemons, and the processes that a daemon starts for a job."""
