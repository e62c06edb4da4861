"""The relay of a group of sites."""
