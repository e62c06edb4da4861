"""Extensions of Flare by installed packages, declared as entry points in their ``pyproject.toml``.

    group               name                                value
    flare.recipes       name of the class                   package:Class, a Recipe; packages may share a name
    flare.frameworks    top-level package of a framework    the package whose recipes accept its models
    flare.trackers      a tracking_type                     package:Class, an Observer
    flare.links         a scheme of addresses               module with listen() and connect()
    flare.participants  a kind of participant               module:object, a ParticipantKind of flare-deploy
    flare.commands      a verb of the command flare         module:object, a function or a typer.Typer
    flare.loggers       the name of a logger                the package that logs with it; never imported

The metadata of installed distributions are read once per process; only :func:`load` imports anything.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from flare_core.errors import FlareError


class ExtensionError(FlareError):
    """An extension is not installed, cannot be imported, or is declared by two distributions."""


@cache
def extensions(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group in the order of their names, without importing them."""
    return tuple(sorted(_declared().select(group=group), key=lambda entry: (entry.name, entry.value)))


def names(group: str) -> tuple[str, ...]:
    """Return the distinct names of the entry points of a group."""
    return tuple(dict.fromkeys(entry.name for entry in extensions(group)))


def find(group: str, name: str) -> EntryPoint:
    """Return the only entry point of a name, without importing it.

    Raises:
        ExtensionError: no distribution declares it, or several do.
    """
    found = [entry for entry in extensions(group) if entry.name == name]
    if not found:
        known = ", ".join(names(group)) or "none"
        raise ExtensionError(
            f"no installed package declares {name!r} in {group}; declared are {known}. Install the package that has it,"
            " or install it again if its pyproject.toml has changed"
        )
    if len(found) > 1:
        raise ExtensionError(
            f"{' and '.join(map(_described, found))} have the same name; uninstall one of"
            f" {', '.join(map(_distribution, found))}"
        )
    return found[0]


def load(entry: EntryPoint) -> Any:
    """Import the object of an entry point.

    Raises:
        ExtensionError: the import failed; names the distribution and the entry point.
    """
    try:
        return entry.load()
    except Exception as error:
        raise ExtensionError(
            f"{_described(entry)} cannot be loaded: {type(error).__name__}: {error}; repair or uninstall"
            f" {_distribution(entry)}"
        ) from error


@cache
def _declared() -> Any:
    return entry_points()


def _described(entry: EntryPoint) -> str:
    return f"the entry point {entry.name} = {entry.value} ({entry.group}) of {_distribution(entry)}"


def _distribution(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else entry.dist.name
