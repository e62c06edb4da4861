"""Jobs that are put together part by part, and the scripts that they run."""
