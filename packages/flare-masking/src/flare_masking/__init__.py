"""Sums of integers over sites, of which the server learns the total alone."""

from flare_masking.masks import MaskedParty, MaskingError, add_masked

__all__ = ["MaskedParty", "MaskingError", "add_masked"]
