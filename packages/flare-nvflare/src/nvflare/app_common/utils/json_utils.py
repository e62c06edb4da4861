"""JSON of objects."""

from __future__ import annotations

import json
from typing import Any


class ObjectEncoder(json.JSONEncoder):
    """Encodes arrays as lists, and other objects as their attributes."""

    def default(self, o: Any) -> Any:
        """Return what JSON has for an object."""
        if hasattr(o, "to_json"):
            return self.default(o.to_json())
        if hasattr(o, "tolist"):
            return o.tolist()
        if hasattr(o, "_asdict"):
            return o._asdict()
        return vars(o) if hasattr(o, "__dict__") else str(o)
