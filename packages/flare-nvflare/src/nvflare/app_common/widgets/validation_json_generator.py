"""ValidationJsonGenerator: writes the results of cross-site evaluation to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nvflare.apis.dxo import DataKind, from_shareable, get_leaf_dxos
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.widgets.widget import Widget


def to_serializable(val: Any) -> Any:
    """Return a value as JSON has it."""
    return val.tolist() if hasattr(val, "tolist") else str(val)


ts_float32 = to_serializable


class ValidationJsonGenerator(Widget):
    """Collects the results of evaluations, and writes them at the end of the run.

    Args:
        results_dir: the folder in the run's.
        json_file_name: the file: results by site of the data, then by model.
    """

    def __init__(
        self, results_dir: str = AppConstants.CROSS_VAL_DIR, json_file_name: str = "cross_val_results.json"
    ) -> None:
        super().__init__()
        self.results_dir = results_dir
        self.json_file_name = json_file_name
        self._results: dict[str, dict[str, Any]] = {}

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Collect a result, or write them all."""
        if event_type == EventType.START_RUN:
            self._results.clear()
        elif event_type == AppEventType.VALIDATION_RESULT_RECEIVED:
            self._collect(fl_ctx)
        elif event_type == EventType.END_RUN:
            folder = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())) / self.results_dir
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self._results, default=to_serializable)
            (folder / self.json_file_name).write_text(text, encoding="utf-8")

    def _collect(self, fl_ctx: FLContext) -> None:
        owner, site = fl_ctx.get_prop(AppConstants.MODEL_OWNER), fl_ctx.get_prop(AppConstants.DATA_CLIENT)
        result = fl_ctx.get_prop(AppConstants.VALIDATION_RESULT)
        if not owner or not site or result is None:
            self.log_error(fl_ctx, f"a result of {owner!r} at {site!r} is incomplete", fire_event=False)
            return
        dxo = from_shareable(result)
        if dxo.data_kind == DataKind.METRICS:
            self._results.setdefault(site, {})[owner] = dxo.data
        elif dxo.data_kind == DataKind.COLLECTION:
            for place, leaf in get_leaf_dxos(dxo, site)[0].items():
                self._results.setdefault(place, {})[owner] = leaf.data
        else:
            self.log_error(fl_ctx, f"the result of {owner} at {site} is {dxo.data_kind}, no METRICS", fire_event=False)
