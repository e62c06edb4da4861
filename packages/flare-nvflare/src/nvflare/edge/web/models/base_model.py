"""BaseModel, a message whose fields are attributes and entries alike."""

from __future__ import annotations

from typing import Any


class BaseModel(dict[str, Any]):
    """A dict whose entries are attributes, too."""

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {key!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value
