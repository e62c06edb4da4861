"""Objects by the paths of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core.components import import_class


def get_class(class_path: str) -> Any:
    """Import ``package.module.Class``."""
    return import_class(class_path)


def instantiate_class(class_path: str, init_args: Mapping[str, Any] | None = None) -> Any:
    """Create an object of ``package.module.Class``."""
    return import_class(class_path)(**(init_args or {}))
