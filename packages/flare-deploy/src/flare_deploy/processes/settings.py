"""Settings of a daemon, in a file of its kit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flare_core import FlareError


def read_settings(path: Path, **defaults: str | int | float) -> dict[str, Any]:
    """Return the settings in a JSON file, each converted to the type of its default.

    Args:
        path: the file; all settings have their defaults if it is missing.
        **defaults: the known settings.
    Raises:
        FlareError: the file cannot be read, or has an unknown setting; names both.
    """
    try:
        values = json.loads(path.read_text()) if path.is_file() else {}
        found = {name: type(default)(values.pop(name, default)) for name, default in defaults.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise FlareError(f"{path} cannot be read: {error}") from error
    if values:
        raise FlareError(f"{path}: unknown {', '.join(values)}; known are {', '.join(defaults)}")
    return found
