"""The server's part of a run: rounds, tasks and replies, checkpoints and records; the same in every environment."""
