"""The network of sites that exchange values with their neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Neighbor:
    """A neighbour of a site, and the weight of its values."""

    id: int | str
    weight: float | None = None


@dataclass
class Node:
    """A site and its neighbours."""

    id: int | str | None = None
    neighbors: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.neighbors = [Neighbor(**each) if isinstance(each, dict) else each for each in self.neighbors]


@dataclass
class Network:
    """All sites."""

    nodes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = [Node(**each) if isinstance(each, dict) else each for each in self.nodes]


@dataclass
class Config:
    """The network, and further settings of an algorithm."""

    network: Any
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.network, dict):
            self.network = Network(**self.network)


@dataclass
class LocalConfig:
    """A site's neighbours, and further settings of an algorithm."""

    neighbors: list[Any]
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.neighbors = [Neighbor(**each) if isinstance(each, dict) else each for each in self.neighbors]
