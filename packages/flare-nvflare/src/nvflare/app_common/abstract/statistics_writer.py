"""StatisticsWriter, which stores statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class StatisticsWriter(FLComponent, ABC):
    """Stores statistics. Those of Flare are written into the run's folder."""

    @abstractmethod
    def save(self, data: dict[str, Any], overwrite_existing: bool, fl_ctx: FLContext) -> None:
        """Store statistics by feature."""
