"""Observation of a Flower run at the server's end: nodes, messages, metrics and rounds, from the requests that pass.

Requests and responses are forwarded as they are. What is read of them here serves to show the run, and to know when a
poll is worth asking again; a field that a later Flower moves is missed, and nothing else breaks.
"""

from __future__ import annotations

import ast
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from flare_flower import wire
from flare_flower.loopback import Request, Response

_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_ROUND = re.compile(r"\[ROUND (\d+)(?:/(\d+))?\]")
_ROUNDS = re.compile(r"Number of rounds: (\d+)|num_rounds=(\d+)")
_WAITING = re.compile(r"Waiting for nodes to connect: (\d+) connected \(minimum required: (\d+)\)")
_AGGREGATED = re.compile(r"(?:Aggregated )?MetricRecord: (\{.*\})\s*$")


STALLED_S = 5.0
"""Objects that have not come for so long are not waited for: they may be known by another name than is read here."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a ClientApp, without its content.

    Attributes:
        site: where it ran.
        group: the message's group, to which older strategies set the round.
        kind: the message's type, such as ``train``.
        error: the reason why there is no result, if there is none.
    """

    site: str
    group: str
    kind: str
    error: str | None = None


@dataclass(slots=True)
class Round:
    """Messages and metrics of one round of Flower's strategy."""

    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # messages to nodes, by their kind
    replies: list[Reply] = field(default_factory=list)
    by_site: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    overall: dict[str, float] = field(default_factory=dict)
    array_bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # of the arrays that a site has sent


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of connected and of required nodes while a ServerApp waits; ``since`` is on the monotonic clock."""

    connected: int
    needed: int
    since: float


@dataclass(slots=True)
class _Sending:
    """A message whose objects are on their way."""

    missing: set[str]
    reply_to: str = ""
    group: str = ""
    kind: str = ""
    kinds: list[str] = field(default_factory=list)  # of the messages of a ServerApp
    seen: float = field(default_factory=time.monotonic)


class Watch:
    """Keeps what was seen; thread-safe.

    Attributes:
        nodes: the ids of Flower's nodes, by site.
        round: the round that Flower's strategy is in, counted from 1; 0 before the first.
        total_rounds: how many there will be, if the ServerApp has said so.
        waiting: the nodes that the ServerApp waits for; None while it does not.
        output: the status that the ServerApp has reported at its end, and its details.
        pushes: how often the ServerApp has sent messages.
        troubles: the last failures of ClientApps: site, what happened, what it printed last.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.nodes: dict[str, int] = {}
        self.rounds: dict[int, Round] = defaultdict(Round)
        self.round = 0
        self.total_rounds: int | None = None
        self.waiting: Counts | None = None
        self.output: tuple[str, str] | None = None
        self.pushes = 0
        self.troubles: deque[tuple[str, str, str]] = deque(maxlen=100)
        self._open: dict[str, _Sending] = {}  # by sender: a site, or "" for the ServerApp
        self._answered: set[str] = set()  # ids of messages whose replies are complete
        self._line = ""
        self._sent_round = 0
        self._error: BaseException | None = None
        self.is_over = False

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change something that others may wait for."""
        with self._changed:
            yield
            self._changed.notify_all()

    def wait_for(self, is_enough: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until a condition on what was seen holds, or the run is over; return whether it holds."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_over or is_enough(), timeout_s)
            return is_enough()

    def wait_for_reports(self, round_: int, timeout_s: float) -> None:
        """Wait until each site whose ClientApp has failed in a round has reported what it printed."""
        with self._changed:
            failed = {reply.site for reply in self.rounds[round_].replies if reply.error is not None}
            self._changed.wait_for(lambda: failed <= {site for site, *_ in self.troubles}, timeout_s)

    def end(self, error: BaseException | None = None) -> None:
        """Note that the run is over, and why, if it has failed; the first call counts."""
        with self.changing():
            if not self.is_over:
                self._error = error
            self.is_over = True

    @property
    def error(self) -> BaseException | None:
        """The reason why the run has failed; None if it has not."""
        return self._error

    def waits_for_others(self, counts: Counts | None) -> bool:
        """Return True if the ServerApp waits for nodes, with other numbers than these."""
        return self.waiting not in (None, counts)

    def waits_otherwise(self, counts: Counts) -> bool:
        """Return True if the ServerApp does not wait for nodes any more, or with other numbers."""
        return self.waiting != counts

    def has_answers(self, message_ids: set[str]) -> bool:
        """True if the replies to all these messages are there, with all their objects."""
        return message_ids <= self._answered

    def is_on_its_way(self, identity: str) -> bool:
        """Return True if the ServerApp has yet to send an object, and has sent another not long ago."""
        sending = self._open.get("")
        return sending is not None and identity in sending.missing and time.monotonic() - sending.seen < STALLED_S

    def note(self, site: str, request: Request, response: Response) -> None:
        """Take note of a request of a site, or of the ServerApp if ``site`` is empty, and of its response."""
        if response.status != 200:
            return
        with self.changing(), suppress(ValueError, IndexError):  # a field that this module does not know
            self._note(site, request.path.rpartition("/v1/")[2], request.body, response.body)

    def _note(self, site: str, path: str, sent: bytes, got: bytes) -> None:
        match path:
            case "fleet/activate-node":
                self.nodes[site] = wire.number_of(got, 1)
            case "fleet/deactivate-node":
                self.nodes.pop(site, None)
            case "runtime/push-messages":
                self.pushes += 1
                self.waiting = None
                sending = self._open.setdefault("", _Sending(set()))
                sending.seen = time.monotonic()
                sending.missing |= {each.decode() for each in wire.parts(got, 2)}
                sending.kinds += [wire.text(wire.part(each, 1), 8) for each in wire.parts(sent, 2)]
                self._close_if_complete(sending)
            case "fleet/push-messages":
                self._note_reply(site, wire.part(sent, 2), {each.decode() for each in wire.parts(got, 3)})
            case "fleet/push-object" | "runtime/push-object":
                self._note_object(site, wire.text(sent, 3), wire.part(sent, 4))
            case "runtime/push-task-output":
                self.output = (wire.text(sent, 2), wire.text(sent, 3))
            case "runtime/push-logs":
                for piece in wire.parts(sent, 3):
                    self._note_log(piece.decode(errors="replace"))

    def _note_reply(self, site: str, message: bytes, missing: set[str]) -> None:
        about = wire.part(message, 1)
        error = wire.part(message, 3)
        group, kind = wire.text(about, 6), wire.text(about, 8)
        reason = (wire.text(error, 2) or "an error without a reason") if error else None
        self._of(group).replies.append(Reply(site, group, kind, reason))
        self._open[site] = _Sending(missing, wire.text(about, 5), group, kind)
        self._close_if_complete(self._open[site])

    def _note_object(self, sender: str, identity: str, content: bytes) -> None:
        sending = self._open.get(sender)
        if sending is None:
            return
        sending.seen = time.monotonic()
        head, _, body = content.partition(b"\0")
        name = head.partition(b" ")[0]
        if not sender and name == b"ConfigRecord":  # strategies tell the ClientApps which round it is
            self._sent_round = int(wire.metrics(body).get("server-round", self._sent_round))
        elif sender and name == b"MetricRecord":
            self._of(sending.group).by_site[sender].update(wire.metrics(body))
        elif sender and name == b"ArrayChunk":
            self._of(sending.group).array_bytes[sender] += len(body)
        sending.missing.discard(identity)
        self._close_if_complete(sending)

    def _close_if_complete(self, sending: _Sending) -> None:
        if sending.missing:
            return
        if sending.reply_to:
            self._answered.add(sending.reply_to)
        for kind in sending.kinds:  # only now is it known to which round they belong
            self._of(sending.group).sent[kind] += 1
        sending.kinds.clear()

    def _of(self, group: str) -> Round:
        return self.rounds[int(group) if group.isdigit() else self._sent_round or self.round]

    def _note_log(self, text: str) -> None:
        *lines, self._line = (self._line + _COLORS.sub("", text)).split("\n")
        for line in lines:
            if found := _ROUND.search(line):
                self.round = int(found[1])
                self.total_rounds = int(found[2]) if found[2] else self.total_rounds
            elif found := _ROUNDS.search(line):
                self.total_rounds = int(found[1] or found[2])
            elif found := _WAITING.search(line):
                since = time.monotonic() if self.waiting is None else self.waiting.since
                self.waiting = Counts(int(found[1]), int(found[2]), since)
            elif found := _AGGREGATED.search(line):
                self.rounds[self.round].overall.update(_numbers(found[1]))


def _numbers(text: str) -> dict[str, float]:
    """Return the numbers of a printed ``MetricRecord``; none if it is printed in another way."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {}
    return {str(key): float(value) for key, value in found.items() if isinstance(value, int | float)}
