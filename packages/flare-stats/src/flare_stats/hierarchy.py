"""Groups of sites in several levels, such as wards of hospitals of regions.

A hierarchy is given as names of levels, ``"region/hospital/ward"``: then the sites' names have as many parts, divided
by dots, such as ``north.mercy.icu``, and the last level is that of the sites. Or as a tree of dicts and lists, whose
leaves are sites: ``{"north": {"mercy": ["site-1", "site-2"]}, "south": ["site-3"]}``.

A group's name is its path, such as ``north/mercy``. Above all groups is ``Global``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_stats.errors import StatsError

GLOBAL = "Global"


@dataclass(frozen=True)
class Hierarchy:
    """Groups of sites.

    Attributes:
        levels: by the name of each level, from the top, its groups, with their sites.
    """

    levels: Mapping[str, Mapping[str, tuple[str, ...]]]

    @classmethod
    def of(cls, given: Any, sites: Sequence[str]) -> Hierarchy:
        """Return the groups of the sites of a run.

        Raises:
            StatsError: the hierarchy does not fit the sites; names one.
        """
        if GLOBAL in sites:
            raise StatsError(f"a site is called {GLOBAL}, which stands for all sites in the results; rename the site")
        if given is None:
            return cls({})
        return cls.by_names(given, sites) if isinstance(given, str) else cls.of_tree(given, sites)

    @classmethod
    def by_names(cls, given: str, sites: Sequence[str]) -> Hierarchy:
        """Return the groups that the names of the sites tell; see the module.

        Raises:
            StatsError: a name has another number of parts.
        """
        names = check_levels(given)
        levels: dict[str, dict[str, list[str]]] = {name: {} for name in names[:-1]}
        for site in sites:
            parts = site.split(".")
            if len(parts) != len(names):
                raise StatsError(
                    f"hierarchy is {given!r}, but the name of {site} has {len(parts)} parts instead of {len(names)};"
                    " name sites like " + ".".join(f"<{name}>" for name in names)
                )
            for depth, name in enumerate(names[:-1], 1):
                levels[name].setdefault("/".join(parts[:depth]), []).append(site)
        return cls(_checked(levels, sites))

    @classmethod
    def of_tree(cls, tree: Any, sites: Sequence[str]) -> Hierarchy:
        """Return the groups of a tree; see the module.

        Raises:
            StatsError: a site is in no group or in two.
        """
        leaves = list(_leaves(tree, ()))
        where = {site: path for site, path in leaves}
        if len(where) < len(leaves):
            twice = next(site for index, (site, _) in enumerate(leaves) if site in dict(leaves[:index]))
            raise StatsError(f"hierarchy names {twice} twice; put each site in one group")
        if lost := [site for site in sites if site not in where]:
            raise StatsError(f"hierarchy has no place for {lost[0]}; add it to a group")
        levels: dict[str, dict[str, list[str]]] = {}
        for depth in range(1, max((len(path) for path in where.values()), default=0) + 1):
            groups = levels.setdefault(f"level {depth}", {})
            for site, path in leaves:
                if len(path) >= depth and site in sites:
                    groups.setdefault("/".join(path[:depth]), []).append(site)
        return cls(_checked(levels, sites))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Return the sites of each group of every level."""
        return {name: sites for level in self.levels.values() for name, sites in level.items()}


def check_levels(given: str) -> list[str]:
    """Return the names of the levels in ``"region/hospital/ward"``.

    Raises:
        StatsError: there are fewer than two, or one occurs twice.
    """
    names = given.split("/")
    if len(names) < 2 or not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise StatsError(f"hierarchy is {given!r}; give names of levels, such as 'region/hospital', or a tree")
    return names


def check_tree(given: Any) -> None:
    """Check the form of a tree.

    Raises:
        StatsError: it has another form.
    """
    for _ in _leaves(given, ()):
        pass


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(tree, Mapping) and tree:
        for name, below in tree.items():
            if not isinstance(name, str) or not name or "/" in name or name == GLOBAL:
                raise StatsError(f"hierarchy has the group {name!r}; give groups names without '/', other than Global")
            yield from _leaves(below, (*path, name))
    elif isinstance(tree, list | tuple) and path and all(isinstance(site, str) for site in tree):
        for site in tree:
            yield site, path
    else:
        place = "/".join(path)
        raise StatsError(
            f"hierarchy{f' at {place}' if place else ''} is {tree!r}; give a dict of groups, or a list of sites"
        )


def _checked(
    levels: Mapping[str, Mapping[str, list[str]]], sites: Sequence[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    for groups in levels.values():
        if taken := sorted({*groups} & {*sites, GLOBAL}):
            raise StatsError(
                f"hierarchy has the group {taken[0]!r}, which is also the name of a site; rename the group"
            )
    return {level: {name: tuple(of) for name, of in groups.items()} for level, groups in levels.items()}
