"""Vertical training: sites with different columns of the same rows grow trees together."""

__all__ = ["SECURE"]

SECURE = ("plain", "masked")
"""Who sees the gradients: all sites, or the label owner alone."""
