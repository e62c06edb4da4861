"""ModelDequantizer: restores models that were sent in fewer bits."""

from __future__ import annotations

from typing import Any

from flare_core.compression.filters import DecompressTensors


class ModelDequantizer(DecompressTensors):
    """Restores what :class:`ModelQuantizer` has encoded; other models pass unchanged."""

    def add_to_fed_job(self, job: Any, ctx: Any, **kwargs: Any) -> Any:
        """Add this to the app of a job that ``ctx`` stands for."""
        job.add_filter(self, kwargs["filter_type"], kwargs.get("tasks", ["*"]), ctx)
