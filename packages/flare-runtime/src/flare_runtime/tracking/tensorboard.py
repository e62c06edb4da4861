"""TensorBoardReceiver: writes event files, which ``tensorboard --logdir`` shows during the run."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from flare_core import ObservedRun, RecipeError
from flare_core.events import RunEnded
from flare_core.job import SERVER
from flare_runtime.run.comparison import parameters as flat_parameters
from flare_runtime.tracking.receiver import Entry, Receiver


class TensorBoardReceiver(Receiver):
    """Writes numbers as scalars (float32, like all of TensorBoard's), everything else as text.

    The recipe's parameters become hyperparameters, which ``tensorboard --logdir WORKSPACE`` compares across runs.

    A run that continues in a new process has another event file; TensorBoard shows them as one run.

    Args:
        folder: the folder for event files, within the run's ``server`` folder or the site's folder.
        by_site: each site has a folder of its own there, and the averages have the folder ``server``, so that charts
            show them as runs to compare. By default all are in one file, and names of values begin with the site's.
    Raises:
        RecipeError: ``folder`` is not a relative path below that.
    """

    tracker = "TensorBoard"
    extra = "tensorboard"

    def __init__(self, *, folder: str = "tensorboard", by_site: bool = False) -> None:
        place = PurePath(folder) if isinstance(folder, str) else PurePath()
        if not place.parts or place.is_absolute() or ".." in place.parts:
            raise RecipeError(f"folder is {folder!r}; give the name of a folder, which is created in that of the run")
        self.folder = folder
        self.by_site = by_site

    def open(self, run: ObservedRun) -> None:
        # Not TensorBoard's EventFileWriter: it would start another thread.
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
        from tensorboard.plugins.text.metadata import create_summary_metadata

        self._event: Any = event_pb2.Event
        self._summary: Any = summary_pb2.Summary
        self._tensor: Any = tensor_pb2.TensorProto
        self._string: Any = types_pb2.DT_STRING
        self._text_plugin: Any = create_summary_metadata(display_name="", description="")
        self._place = run.folder / self.folder
        self._records: dict[str, Any] = {}  # by the folder within that
        self._begin(run)

    def write(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            summary = self._summary(value=[self._value(entry)])
            self._add(self._folder_of(entry.site), step=entry.step, summary=summary)
        for each in self._records.values():
            each.flush()

    def close(self, end: RunEnded) -> None:
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.STATUS_SUCCESS if end.outcome == "finished" else api_pb2.STATUS_FAILURE
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._add_session(metadata.SESSION_END_INFO_TAG, session_end_info=info)
        for each in self._records.values():
            each.close()

    def _begin(self, run: ObservedRun) -> None:
        """Write the recipe's parameters, for the HPARAMS tab of TensorBoard."""
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        info = plugin_data_pb2.SessionStartInfo(group_name=run.name, start_time_secs=time.time())
        for name, value in flat_parameters(run.recipe).items():
            if isinstance(value, bool):
                info.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                info.hparams[name].number_value = value
            else:
                info.hparams[name].string_value = str(value)
        self._add_session(metadata.SESSION_START_INFO_TAG, session_start_info=info)

    def _add_session(self, tag: str, **info: Any) -> None:
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**info))
        value = self._summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
        self._add(self._folder_of(None), summary=self._summary(value=[value]))

    def _folder_of(self, site: str | None) -> str:
        return (site or SERVER) if self.by_site else ""

    def _add(self, folder: str, **content: Any) -> None:
        if folder not in self._records:
            self._records[folder] = self._new_records(self._place / folder)
        self._records[folder].write(self._event(wall_time=time.time(), **content).SerializeToString())

    def _new_records(self, folder: Path) -> Any:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        records: Any = RecordWriter((folder / name).open("xb"))
        records.write(self._event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        return records

    def _value(self, entry: Entry) -> Any:
        tag = entry.name.removeprefix(f"{entry.site}/") if self.by_site else entry.name
        if entry.kind == "number":
            return self._summary.Value(tag=tag, simple_value=entry.value)
        text = self._tensor(dtype=self._string, string_val=[str(entry.value).encode()])
        return self._summary.Value(tag=tag, metadata=self._text_plugin, tensor=text)
