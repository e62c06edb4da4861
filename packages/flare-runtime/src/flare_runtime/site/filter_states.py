"""FilterStates: what the filters of a site's results remember from one result to the next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from flare_core import Filter, Task, flatten, unflatten
from flare_core.model import Key, MetaKey
from flare_tensor_downloader import read_file, write_file

__all__ = ["FilterStates"]

States: TypeAlias = list[Mapping[Key, Any]]
"""One for each filter."""

_FILE = re.compile(r"filters-(\d+)-(\d+)\.safetensors")


class _Moment(NamedTuple):
    """The end of a task: its number, and its round. Moments are in order."""

    task: int
    round: int

    @property
    def file(self) -> str:
        return f"filters-{self.task}-{self.round}.safetensors"


class FilterStates:
    """The states of a site's filters, as they were after the last result that the server has used.

    What came after that is kept as well until more is known of it: a task may be given again, and the server may not
    use a result that was sent.

    Args:
        filters: of results; those without a state cost nothing.
        folder: where the states outlive the process, made when it is needed; None keeps them in memory.
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
        """Have the filters begin as after the last result before that of ``task`` which the server has used."""
        if not self._filters:
            return
        unused_since = task.model.meta.get(MetaKey.NOT_USED_SINCE)
        used = (
            each for each in self._kept if each.task < task.id and (unused_since is None or each.round < unused_since)
        )
        self._before = max(used, default=None)
        states = [{} for _ in self._filters] if self._before is None else self._read(self._before)
        for each, state in zip(self._filters, states, strict=True):
            each.restore(state)

    def end(self, task: Task) -> None:
        """Take note of what the filters remember of a result; called before anybody else learns of it."""
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
