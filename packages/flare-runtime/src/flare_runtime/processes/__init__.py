"""Processes of jobs: exit codes, priority, cores and temporary folders, in the simulator and elsewhere."""
