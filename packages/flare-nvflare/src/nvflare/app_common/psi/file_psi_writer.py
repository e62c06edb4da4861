"""FilePSIWriter, which names the file of common ids."""

from __future__ import annotations

from flare_core import RecipeError
from nvflare._flare.intersections import PSIPart


class FilePSIWriter(PSIPart):
    """Names the file of common ids in a site's folder, which Flare writes.

    Args:
        output_path: its path below the site's folder.
    Raises:
        RecipeError: the path is empty.
    """

    def __init__(self, output_path: str) -> None:
        super().__init__()
        if not output_path:
            raise RecipeError("output_path is empty; give a path such as psi/intersection.txt")
        self.output_path = output_path
