"""The relay of a group of sites: its daemon."""
