"""Directory: the cells that serve the parties of a job, as one process knows them.

The server's process is the authority (:mod:`flare_runtime.endpoint.at_server`). A site's process asks it about a party
at the first use, and is notified of every change from then on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from flare_core import PartyError
from flare_transport import blocking
from flare_transport.address import speaks_for

SERVER = "server"


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a party.

    Attributes:
        version: counts the changes; a lower version is outdated.
        cell: the cell that serves the party; None while there is none.
        is_open: its services have started, so it can be reached.
        gone: why the party is gone for good; empty if it is not.
    """

    version: int
    cell: str | None = None
    is_open: bool = False
    gone: str = ""


class Directory:
    """Finds parties; thread-safe.

    Args:
        ask: requests the place of an unknown party; the answer arrives through :meth:`put`.
        moved: called when the cell of a party was replaced or lost, with the party, that cell and the reason.

    Attributes:
        parties: the parties of the job; empty until known.
        starting: the thread that starts services, which must not wait for parties whose services start later.
    """

    def __init__(self, ask: Callable[[str], None], moved: Callable[[str, str, str], None]) -> None:
        self.parties: tuple[str, ...] = ()
        self.starting: threading.Thread | None = None
        self._ask = ask
        self._moved = moved
        self._changed = threading.Condition()
        self._places: dict[str, Place] = {}
        self._asked: set[str] = set()
        self._closed: str | None = None

    def put(self, party: str, place: Place, reason: str = "") -> None:
        """Record the place of a party, unless a newer one is known."""
        with self._changed:
            before = self._places.get(party)
            if before is not None and place.version < before.version:
                return
            self._places[party] = place
            self._asked.add(party)
            self._changed.notify_all()
        if before is not None and before.cell is not None and before.cell != place.cell:
            self._moved(party, before.cell, place.gone or reason)

    def get(self, party: str) -> Place | None:
        """Return the place of a party; None if unknown."""
        return self._places.get(party)

    def at(self, cell: str) -> list[str]:
        """Return the parties known to be served by a cell or one below it."""
        return [party for party, place in self._places.copy().items() if place.cell and speaks_for(cell, place.cell)]

    def served_by(self, cell: str) -> list[str]:
        """Return the parties known to be served by this very cell."""
        return [party for party, place in self._places.copy().items() if place.cell == cell]

    def forget(self, party: str) -> None:
        """Forget the place of a party whose cell cannot be reached, so that it is asked for again."""
        with self._changed:
            self._places.pop(party, None)
            self._asked.discard(party)
            self._changed.notify_all()

    def locate(self, party: str, deadline: float | None = None) -> str:
        """Wait until a party can be reached; return its cell.

        Raises:
            PartyError: there is no such party, it is gone for good, or the run is over.
            TimeoutError: it cannot be reached before ``deadline``, on the monotonic clock.
        """
        self._check_known(party)
        if threading.current_thread() is self.starting and party != SERVER:
            raise PartyError(
                f"a service's start() cannot reach {party}, whose services may start later; use a thread for that",
                party=party,
            )
        place = self._wait(party, lambda place: place.is_open and place.cell is not None, deadline)
        assert place.cell is not None
        return place.cell

    def check_sender(self, party: str, cell: str, within_s: float) -> None:
        """Refuse a cell that does not serve the party for which it speaks.

        Raises:
            PartyError: the cell does not serve the party; names both.
            TimeoutError: the server has not answered within ``within_s`` seconds which cell does.
        """
        self._check_known(party)
        place = self._wait(party, lambda place: True, time.monotonic() + within_s)
        if place.cell is None or not speaks_for(place.cell, cell):
            raise PartyError(f"{cell} spoke for {party}, which it does not serve", party=party)

    def close(self, reason: str) -> None:
        """End all current and future waits with an error."""
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify_all()

    def check_open(self, party: str) -> None:
        """Refuse to continue after the end of the run.

        Raises:
            PartyError: the run is over.
        """
        if self._closed is not None:
            raise PartyError(f"{party} cannot be reached any more: {self._closed}", party=party)

    def _check_known(self, party: str) -> None:
        if self.parties and party not in self.parties:
            raise PartyError(
                f"the job has no party {party!r}; its parties are {', '.join(self.parties)}", party=str(party)
            )

    def _wait(self, party: str, is_enough: Callable[[Place], bool], deadline: float | None) -> Place:
        while True:
            with self._changed:
                must_ask = party not in self._asked
                self._asked.add(party)
            if must_ask:
                self._ask(party)
            with blocking(), self._changed:
                self._changed.wait_for(lambda: self._is_settled(party, is_enough), remaining(deadline))
                place = self._places.get(party)
                self.check_open(party)
                if place is not None and place.gone:
                    raise PartyError(f"{party} is gone: {place.gone}", party=party)
                if place is not None and is_enough(place):
                    return place
                if party in self._asked and deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"{party} could not be reached in time")

    def _is_settled(self, party: str, is_enough: Callable[[Place], bool]) -> bool:
        place = self._places.get(party)
        is_known = place is not None and (bool(place.gone) or is_enough(place))
        return self._closed is not None or party not in self._asked or is_known


def remaining(deadline: float | None) -> float | None:
    """Return the seconds until a deadline on the monotonic clock, at least 0; None for no deadline."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
