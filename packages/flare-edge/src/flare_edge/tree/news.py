"""News of the root of the tree for its workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flare_edge.fedbuff import NewVersion

Params = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Made:
    """A new version.

    Args:
        version: what it was made of.
        params: the model.
        state: the root's state right after it.
    """

    version: NewVersion
    params: Params
    state: Mapping[str, Any]


@dataclass
class News:
    """All that has happened since the workflow asked last.

    Attributes:
        made: a new version; the next is not made before :meth:`Root.proceed`.
        evaluations: metrics by name of versions that devices have evaluated.
        dropped: number of updates that were not used.
        is_over: no version and no evaluation follows.
    """

    made: Made | None = None
    evaluations: dict[int, Mapping[str, float]] = field(default_factory=dict)
    dropped: int = 0
    is_over: bool = False

    def __bool__(self) -> bool:
        return self.made is not None or bool(self.evaluations) or self.is_over
