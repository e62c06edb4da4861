"""FilterStates: the memory of a site's result filters, which must match the results that the server has used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from flare_core import Filter, Task
from flare_core.model import Key, MetaKey, flatten, unflatten
from flare_tensor_downloader import read_file, write_file

States: TypeAlias = list[Mapping[Key, Any]]
"""One state for each filter."""

_FILE = re.compile(r"filters-(\d+)-(\d+)\.safetensors")


class _Moment(NamedTuple):
    """The end of a task, by its number and round; sorts in the order of the tasks."""

    task: int
    round: int

    @property
    def file(self) -> str:
        return f"filters-{self.task}-{self.round}.safetensors"


class FilterStates:
    """The states of a site's filters after the last result that the server has used.

    The states after later results are kept too until their fate is known: a task may be sent again, and the server may
    discard a result.

    Args:
        filters: the result filters; those without a state cost nothing.
        folder: where the states survive the process, created when needed; None keeps them in memory.
    """

    def __init__(self, filters: Sequence[Filter], folder: Path | None) -> None:
        self._filters = [each for each in filters if type(each).state is not Filter.state]
        self._folder = folder
        self._kept: dict[_Moment, States | None] = {}  # None: in a file
        self._before: _Moment | None = None
        for path in folder.iterdir() if self._filters and folder is not None and folder.is_dir() else ():
            if match := _FILE.fullmatch(path.name):
                self._kept[_Moment(int(match[1]), int(match[2]))] = None

    def begin(self, task: Task) -> None:
        """Restore the filters to their states after the last result before ``task`` that the server has used."""
        if not self._filters:
            return
        # The server says since which round it has used no result: only it knows which ones arrived in time.
        unused_since = task.model.meta.get(MetaKey.NOT_USED_SINCE)
        used = (
            each for each in self._kept if each.task < task.id and (unused_since is None or each.round < unused_since)
        )
        self._before = max(used, default=None)
        states = [{} for _ in self._filters] if self._before is None else self._read(self._before)
        for each, state in zip(self._filters, states, strict=True):
            each.restore(state)

    def end(self, task: Task) -> None:
        """Record the filters' states after a result; called before the result is sent.

        If the process dies in between, the task is done again from the states before it.
        """
        if not self._filters:
            return
        now = _Moment(task.id, task.model.current_round or 0)
        states: States = [each.state() for each in self._filters]
        if not any(states) and not self._kept:
            return
        if self._folder is None:
            self._kept[now] = states
        else:
            self._folder.mkdir(exist_ok=True)
            named: dict[Key, Any] = {
                (str(index), *_path(key)): value for index, state in enumerate(states) for key, value in state.items()
            }
            write_file(self._folder / now.file, unflatten(named))
            self._kept[now] = None
        # The server decides between these two: whether it uses this result is known when the next task comes.
        for each in self._kept.keys() - {now, self._before}:
            del self._kept[each]
            if self._folder is not None:
                (self._folder / each.file).unlink(missing_ok=True)

    def _read(self, moment: _Moment) -> States:
        states = self._kept[moment]
        if states is None:
            assert self._folder is not None
            by_filter = read_file(self._folder / moment.file)
            states = [dict(flatten(by_filter.get(str(index), {}))) for index in range(len(self._filters))]
        return states


def _path(key: Key) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key
