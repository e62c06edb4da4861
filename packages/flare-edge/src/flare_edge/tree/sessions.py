"""Sessions: the parent's end of the connections to its children.

A child begins a session with ``edge.hello`` and names it in all further requests. A new session ends the child's former
one, so what a former life of a child, or a request that was lost on its way, still sends is refused. What goes down to
the child waits in the session until the child's next ``edge.next`` says that it has arrived.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_edge.errors import EdgeError

HOLD_S = 20.0
"""How long a request for items is held while there are none."""

SILENT_S = 60.0
"""After so long without a request a child counts as gone."""

END_S = 2.0
"""How long children may take to pass on that the run is over."""


class StaleSessionError(EdgeError):
    """A request of a session that is over; the child must begin another."""


@dataclass
class _Session:
    name: str
    is_live: bool = True
    has_ended: bool = False
    items: deque[tuple[int, list[Any]]] = field(default_factory=deque)
    last: int = 0
    contact: float = field(default_factory=time.monotonic)


class Sessions:
    """The sessions of a node's children; thread-safe.

    Args:
        children: the sites that may begin one.
    """

    def __init__(self, children: Sequence[str]) -> None:
        self.children = list(children)
        self._changed = threading.Condition()
        self._open: dict[str, _Session] = {}
        self._is_over = False
        self._is_abandoned = False
        self.end_all()

    def begin(self, child: str) -> str:
        """Begin a session of a child, which ends its former one; return its name.

        Raises:
            EdgeError: it is no child of this node.
        """
        if child not in self.children:
            raise EdgeError(f"{child} does not report to this node; its children are {', '.join(self.children)}")
        with self._changed:
            session = self._open[child] = _Session(secrets.token_hex(8))
            self._changed.notify_all()
        return session.name

    def check(self, child: str, name: str) -> None:
        """Check that a session is the current one of its child.

        Raises:
            StaleSessionError: it is not.
        """
        with self._changed:
            self._current(child, name)

    def _current(self, child: str, name: str) -> _Session:
        session = self._open.get(child)
        if session is None or session.name != name:
            raise StaleSessionError(f"the session of {child} is over")
        session.contact = time.monotonic()
        return session

    def post(self, children: Iterable[str], kind: str, data: Any = None) -> None:
        """Send an item down to children; one without a session learns what it needs when it begins one."""
        with self._changed:
            for child in children:
                if (session := self._open.get(child)) is not None and session.is_live:
                    session.last += 1
                    session.items.append((session.last, [kind, data]))
            self._changed.notify_all()

    def take(self, child: str, name: str, seen: int) -> dict[str, Any]:
        """Wait for items of a child after number ``seen``, and return them with the number of the last.

        Raises:
            StaleSessionError: the session is over.
        """
        until = time.monotonic() + HOLD_S
        with self._changed:
            while True:
                session = self._current(child, name)
                while session.items and session.items[0][0] <= seen:
                    session.items.popleft()
                left = until - time.monotonic()
                if session.items or self._is_over or left <= 0:
                    items = [item for _, item in session.items]
                    return {"items": [*items, ["end", None]] if self._is_over else items, "seen": session.last}
                self._changed.wait(left)

    def await_silent(self) -> list[str]:
        """Wait until children have been silent for too long, end their sessions and return them; [] at the end."""
        with self._changed:
            while not (self._is_over or self._is_abandoned):
                now = time.monotonic()
                silent = [child for child, each in self._open.items() if each.contact + SILENT_S <= now]
                for child in silent:
                    del self._open[child]
                if silent:
                    return silent
                first = min((each.contact for each in self._open.values()), default=now)
                self._changed.wait(first + SILENT_S - now)
            return []

    def end_all(self) -> None:
        """End all sessions: the children must begin new ones; one that does not is silent."""
        with self._changed:
            self._open = {child: _Session(secrets.token_hex(8), is_live=False) for child in self.children}
            self._changed.notify_all()

    def abandon(self) -> None:
        """End all sessions and waits without a word, since this node ends but the run does not."""
        with self._changed:
            self._is_abandoned = True
            self._open.clear()
            self._changed.notify_all()

    def note_ended(self, child: str, name: str) -> None:
        """Note that a child has passed on that the run is over.

        Raises:
            StaleSessionError: the session is over.
        """
        with self._changed:
            self._current(child, name).has_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Tell all children, now and later, that the run is over; wait for :meth:`note_ended`, but not for long."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: all(each.has_ended or not each.is_live for each in self._open.values()), END_S
            )
