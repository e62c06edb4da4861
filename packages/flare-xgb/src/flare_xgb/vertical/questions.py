"""Steps of the label owner's training, which it yields, and what it is sent in return."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
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
class Kept:
    """The training so far, as the server keeps it for the label owner, which seals it for itself.

    Args:
        trees: plain data of each tree, and of the draws after it.
        leaves: of the trees of a round that is not completed, the leaf of each row.
        margins: float32 [rows, outputs], after the rounds before; None before the first round's end.
    """

    trees: Sequence[Mapping[str, Any]] = ()
    leaves: Sequence[NDArray[np.unsignedinteger]] = ()
    margins: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Grown:
    """A tree was grown, which is to be kept.

    Args:
        tree: as in :class:`Kept`.
        leaves: as there.
    """

    tree: dict[str, Any]
    leaves: NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Ready:
    """The last order is done, and another one is awaited.

    Args:
        result: for the server.
        margins: after a round, to be kept in place of the leaves of its trees.
    """

    result: Mapping[str, Any]
    margins: NDArray[np.float32] | None = None


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
