"""Sums of integers over sites, of which the server learns the total alone.

This package depends on numpy and cryptography only, and on nothing else of flare-xgb.
"""

from flare_xgb.masking.masks import MaskedParty, MaskingError, add_masked

__all__ = ["MaskedParty", "MaskingError", "add_masked"]
