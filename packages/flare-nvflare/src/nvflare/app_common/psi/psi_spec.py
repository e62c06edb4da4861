"""PSI, the base class of what supplies the ids of a site to an intersection."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import flare_psi
from nvflare._flare.context import context_of, fill_in_site
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class PSI(FLComponent, flare_psi.PSI):
    """Supplies the ids of a site; the results are written by the recipe.

    Args:
        psi_writer_id: without effect.
    """

    def __init__(self, psi_writer_id: str) -> None:
        super().__init__()
        self.psi_writer_id = psi_writer_id

    @property
    def fl_ctx(self) -> FLContext:
        """The context of the site."""
        return context_of(self.site)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; once the name of the site is known, it takes the place of ``{SITE_NAME}`` in others."""
        super().__setattr__(name, value)
        if name == "site":
            fill_in_site(self, value)

    def initialize(self, fl_ctx: FLContext) -> None:
        """Do nothing; a subclass can override this."""

    @abstractmethod
    def load_items(self) -> Any:
        """Return the ids of the site."""
