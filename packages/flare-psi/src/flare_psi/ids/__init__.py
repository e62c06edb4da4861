"""The ids of a site: read, normalised, and kept in files."""

from flare_psi.ids.items import Items
from flare_psi.ids.normalisation import Normalisation
from flare_psi.ids.reading import PSI, FileItems

__all__ = ["PSI", "FileItems", "Items", "Normalisation"]
