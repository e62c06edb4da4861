"""A site's part of a run: its settings, folder, log, filters and executors."""
