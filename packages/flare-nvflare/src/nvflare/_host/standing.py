"""Standing tasks, whose answers a controller awaits, and the answers."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from flare_core.selection import MetricMean
from flare_runtime.run.conversation import SitesConversation
from nvflare._host.engine import names_of
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.shareable import ReservedHeaderKey, Shareable


class Answer(Shareable):
    """A result that notes whether the controller has looked at its return code."""

    was_seen = False

    def get_header(self, key: str, default: Any = None) -> Any:
        """Return a header."""
        if key == ReservedHeaderKey.RC:
            self.was_seen = True
        return super().get_header(key, default)


class Standing:
    """A task whose answers are awaited.

    Args:
        task: the task.
        targets: its sites; None for all.
        least: how many answers are awaited; 0 for all.
        extra_s: how many seconds to wait for more.
        in_turn: the sites do it one after the other.
        only_one: the first site that is there does it.
        forever: the sites are given it again.
    """

    def __init__(
        self,
        task: Task,
        targets: Any,
        least: int,
        extra_s: float,
        *,
        in_turn: bool = False,
        only_one: bool = False,
        forever: bool = False,
        limit_s: float = 0,
    ) -> None:
        self.task = task
        self.targets = names_of(targets) or None
        self.least = least
        self.extra_s = extra_s
        self.in_turn, self.only_one, self.forever = in_turn, only_one, forever
        self.limit_s = limit_s
        self.done = threading.Event()
        self.waiting: deque[str] = deque()  # whose turn comes later
        self.open: SitesConversation | None = None
        self.answers = 0
        self.wanted = 0
        self.ends_at: float | None = None
        self.means = MetricMean()
        self.has_metrics = False
        self.client_tasks: dict[str, ClientTask] = {}
