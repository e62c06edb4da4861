"""Topology: which site reports to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flare_edge.errors import EdgeError

ROOT = "server"


@dataclass(frozen=True)
class Topology:
    """The nodes of a run. Sites without children are leaves, to which devices connect.

    Args:
        sites: all sites of the run.
        inner: by inner node, the sites that report to it. All other sites report to the server.
    """

    sites: Sequence[str]
    inner: Mapping[str, Sequence[str]]

    @cached_property
    def parents(self) -> dict[str, str]:
        """By site, the node to which it reports."""
        return dict.fromkeys(self.sites, ROOT) | {
            child: parent for parent, children in self.inner.items() for child in children
        }

    @cached_property
    def leaves(self) -> list[str]:
        """The sites with a gateway."""
        return [site for site in self.sites if site not in self.inner]

    def children(self, node: str) -> list[str]:
        """Return the sites that report to a node."""
        return [site for site in self.sites if self.parents[site] == node]

    @cached_property
    def _ways(self) -> dict[str, list[str]]:
        """By leaf, the nodes from the leaf up to the child of the root."""
        ways: dict[str, list[str]] = {}
        for leaf in self.leaves:
            way = [leaf]
            while (parent := self.parents[way[-1]]) != ROOT:
                way.append(parent)
            ways[leaf] = way
        return ways

    def next_hop(self, node: str, leaf: str) -> str:
        """Return the child of a node through which a leaf is reached.

        Raises:
            EdgeError: the leaf is not below the node.
        """
        way: list[str] = [*self._ways.get(leaf, ()), ROOT]
        if node not in way[1:]:
            raise EdgeError(f"{leaf!r} is no gateway below {node}; its gateways are {', '.join(self.below(node))}")
        return way[way.index(node) - 1]

    def below(self, node: str) -> list[str]:
        """Return the leaves below a node."""
        return [leaf for leaf in self.leaves if node == ROOT or node in self._ways[leaf][1:]]

    def check(self) -> None:
        """Check the inner nodes against the sites.

        Raises:
            EdgeError: a name is no site of the run.
        """
        for name in [*self.inner, *(child for children in self.inner.values() for child in children)]:
            if name not in self.sites:
                raise EdgeError(f"the tree names {name!r}, which is no site of this run: {', '.join(self.sites)}")


def check_inner(inner: Mapping[str, Sequence[str]]) -> None:
    """Check that inner nodes and their children form a tree.

    Raises:
        EdgeError: an inner node has no children, a site reports to two nodes, or nodes report in a circle.
    """
    parents: dict[str, str] = {}
    for parent, children in inner.items():
        if isinstance(children, str) or not children:
            raise EdgeError(f"tree[{parent!r}] is {children!r}; give a list of the sites that report to it")
        for child in children:
            if child in parents:
                raise EdgeError(f"tree has {child!r} below {parents[child]!r} and {parent!r}; a site reports to one")
            parents[child] = parent
    for start in parents:
        node, seen = start, {start}
        while node := parents.get(node, ""):
            if node in seen:
                raise EdgeError(f"tree has a circle at {node!r}: the way up from a site must end at the server")
            seen.add(node)
