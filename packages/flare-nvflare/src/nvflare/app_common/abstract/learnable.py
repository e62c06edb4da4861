"""Learnable, what a run learns."""

from __future__ import annotations

from typing import Any


class Learnable(dict[Any, Any]):
    """Things that a run learns, by name."""

    def is_empty(self) -> bool:
        """Return True if there is nothing yet."""
        return False

    def to_bytes(self) -> bytes:
        """Serialize the learnable."""
        from nvflare.fuel.utils import fobs

        data: bytes = fobs.dumps(self)
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Any:
        """Return the learnable that :meth:`to_bytes` serialized."""
        from nvflare.fuel.utils import fobs

        return fobs.loads(data)
