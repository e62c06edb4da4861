"""DhPSIController, which a job becomes a recipe of flare_psi by."""

from nvflare._flare.intersections import IntersectingController


class DhPSIController(IntersectingController):
    """Intersects the ids of all sites, with :class:`flare_psi.PSIRecipe`."""

    def __init__(self) -> None:
        super().__init__()
