"""Collaborations as plain function calls: a server's ``main`` calls what sites publish, and they call each other."""

from __future__ import annotations

import logging

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "CollabCallError": "nvflare.collab.calls",
        "CollabRecipe": "nvflare.collab.recipe",
        "collab": "nvflare.collab.facade",
    },
)


def simple_logging(level: int = logging.INFO) -> None:
    """Show log messages on the terminal, for scripts."""
    logging.basicConfig(level=level, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
