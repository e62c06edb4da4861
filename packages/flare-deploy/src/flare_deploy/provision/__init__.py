"""Projects, start-up kits and invitations."""
