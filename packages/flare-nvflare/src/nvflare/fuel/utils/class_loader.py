"""Classes by their paths."""

from __future__ import annotations

from typing import Any

from flare_core.components import import_class


def load_class(class_path: str) -> Any:
    """Import ``package.module.Class``.

    Raises:
        JobError: names the part that is missing.
    """
    return import_class(class_path)
