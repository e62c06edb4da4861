"""A site whose clock is ten minutes ahead."""

from __future__ import annotations

import time

from flare_flower.executor import FlowerExecutor


class FastClock(FlowerExecutor):
    """Looks at a clock that is ten minutes ahead."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: time.time() + 600)
