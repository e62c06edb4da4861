"""What the owner of a daemon decides: settings in a file of its kit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flare_core import FlareError

__all__ = ["read_settings"]


def read_settings(path: Path, **defaults: str | int | float) -> dict[str, Any]:
    """Return the settings in a file, which need not be there, each of the type of its default.

    Raises:
        FlareError: the file cannot be read, or holds an unknown setting; names both.
    """
    try:
        values = json.loads(path.read_text()) if path.is_file() else {}
        found = {name: type(default)(values.pop(name, default)) for name, default in defaults.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise FlareError(f"{path} cannot be read: {error}") from error
    if values:
        raise FlareError(f"{path}: unknown {', '.join(values)}; known are {', '.join(defaults)}")
    return found
