"""What the processes of a job have in common, in the simulator and elsewhere."""
