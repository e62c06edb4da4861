"""Kinds of participants other than servers and administrators: how each is provisioned, and its daemon.

Packages add kinds in the entry-point group ``flare.participants``; flare-deploy adds ``client`` and ``relay``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

from flare_core.extensions import find, load, names

GROUP = "flare.participants"


class Daemon(Protocol):
    """A process that runs with a kit; it holds the lock file ``<kit>/lock`` until :meth:`close`."""

    def run(self, connected: Callable[[], None], waiting: Callable[[str], Any]) -> None:
        """Connect to the server, and again whenever the connection is lost, until :meth:`stop` is called.

        Args:
            connected: called whenever a connection is made.
            waiting: called with the reason whenever an attempt fails.
        Raises:
            FlareError: it cannot continue, for example because the server refuses it.
        """

    def stop(self) -> None:
        """Make :meth:`run` return; from any thread."""

    def close(self) -> None:
        """Release everything; called once :meth:`run` has returned, or was never called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantKind:
    """A kind of participant, for the server, for provisioning and for the command ``flare``.

    Attributes:
        daemon: makes the daemon from the folder of a kit of this kind; imports the daemon's module when it is called,
            since the server loads the kind, too.
        kit_folder: the folder of a provisioned project that holds the kits of this kind.
        takes_jobs: the scheduler may choose it for jobs; it answers the server's messages as a client does.
        forwards: it has an address of its own, at which participants whose names are below its own reach the server;
            it handles the message ``relay.cut``. No participant may have a name below that of another kind.
    """

    daemon: Callable[[Path], Daemon]
    kit_folder: str
    takes_jobs: bool = False
    forwards: bool = False


def known_kinds() -> tuple[str, ...]:
    """Return the names of all kinds of participants; nothing is imported."""
    return ("server", "admin", *names(GROUP))


@cache
def participant_kind(name: str) -> ParticipantKind:
    """Return the kind of that name.

    Raises:
        ExtensionError: no installed package declares it, or it cannot be loaded.
    """
    return cast("ParticipantKind", load(find(GROUP, name)))


def takes_jobs(kind: str) -> bool:
    """Return True if the scheduler may choose participants of a kind for jobs."""
    return kind in names(GROUP) and participant_kind(kind).takes_jobs


def forwards(kind: str) -> bool:
    """Return True if other participants may connect through those of a kind."""
    return kind in names(GROUP) and participant_kind(kind).forwards
