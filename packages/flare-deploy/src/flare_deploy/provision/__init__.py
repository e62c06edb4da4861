"""Projects, start-up kits and invitations: who takes part, and how each proves it."""
