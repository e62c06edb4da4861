"""Processes: daemons, and what they start for a job."""
