"""Private set intersection."""

from __future__ import annotations

from typing import Any

import flare_psi
from nvflare._flare.layout import Outputs
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe


class DhPSIRecipe(Recipe):
    """The ids that all sites have, with :class:`flare_psi.PSIRecipe`.

    Args:
        local_psi: supplies the ids of a site.
        output_path: the file with the common ids, in each site's folder; ends in .txt or .csv.
    """

    def __init__(
        self, *, name: str = "dh_psi", min_clients: int, local_psi: Any, output_path: str = "psi/intersection.txt"
    ) -> None:
        recipe = flare_psi.PSIRecipe(name=name, min_clients=min_clients, local_psi=local_psi, output_path=output_path)
        super().__init__(FedJob.of(recipe, Outputs()))
