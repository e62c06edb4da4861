"""Steps of the label owner's training, which it yields, and what it is sent in return."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Question:
    """A question to some feature owners.

    Args:
        name: of the question; see the module ``owner``.
        data: by site.
        masked: by site, what the server needs for the answers.
    """

    name: str
    data: Mapping[str, Any]
    masked: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grown:
    """A tree was grown.

    Args:
        chunk: plain data with which the label owner goes on after this tree; for itself alone.
    """

    chunk: dict[str, Any]


@dataclass(frozen=True)
class Ready:
    """The last order is done, and another one is awaited.

    Args:
        result: for the server.
    """

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """The next thing that the server wants.

    Args:
        name: ``round`` or ``finish``.
        number: the number of the round.
        attributes: of the finished model.
    """

    name: str
    number: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)


Answers: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By site. Those to ``group`` also have the sums of the server, as ``masked``."""

Asking: TypeAlias = Generator[Question, Answers, Any]
Leading: TypeAlias = Generator[Question | Grown | Ready, Any, None]
