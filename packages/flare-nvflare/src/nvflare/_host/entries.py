"""The form of the entries in a job's configuration files, which is checked before anything is made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flare_core import JobError

LISTS = ("workflows", "executors", "components", "task_data_filters", "task_result_filters")
_CHAINS = ("task_data_filters", "task_result_filters")


def entries_of(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """Return the descriptions under a key that are not disabled.

    Args:
        content: of a configuration file.
        key: one of :data:`LISTS`.
        path: the file.
    Raises:
        JobError: they are not a list of descriptions.
    """
    return [dict(each) for each in _objects(content.get(key), f"{path}: '{key}'") if not each.get("disabled")]


def check_entries(content: Mapping[str, Any], path: Path) -> None:
    """Check the form of all entries, so that none is ignored because of it.

    Args:
        content: of a configuration file.
        path: the file.
    Raises:
        JobError: an entry has another form, or two components have the same id; names the file, the key and the value.
    """
    for where, entry in _parts(content, path):
        args = entry.get("args")
        if args is not None and not isinstance(args, Mapping):
            raise JobError(f"{where}: 'args' is {args!r}; write an object of arguments by name")
    ids = Counter(_ids(content, path))
    if twice := [each for each, count in ids.items() if count > 1]:
        raise JobError(f"{path}: two components have the id {twice[0]!r}; give each its own")


def _parts(content: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all descriptions of components, and where they are."""
    for key in LISTS:
        for index, entry in enumerate(entries_of(content, key, path)):
            where = f"{path}: {key}[{index}]"
            if key in ("executors", *_CHAINS):
                _check_tasks(entry, where)
            if key == "executors":
                if not isinstance(entry.get("executor"), Mapping):
                    raise JobError(f"{where}: 'executor' is {entry.get('executor')!r}; write an object with a 'path'")
                yield where, entry["executor"]
            elif key in _CHAINS:
                filters = _objects(entry.get("filters"), f"{where}: 'filters'")
                if not filters:
                    raise JobError(f"{where} has no 'filters'; list them, or remove the entry")
                yield from ((where, each) for each in filters)
            else:
                yield where, entry


def _check_tasks(entry: Mapping[str, Any], where: str) -> None:
    tasks = entry.get("tasks", ["*"])
    if not isinstance(tasks, list) or not tasks or not all(isinstance(each, str) and each for each in tasks):
        raise JobError(f"{where}: 'tasks' is {tasks!r}; write a list of their names, such as [\"train\"]")


def _ids(content: Mapping[str, Any], path: Path) -> Iterator[str]:
    for key in ("workflows", "components"):
        for index, entry in enumerate(entries_of(content, key, path)):
            if not isinstance(found := entry.get("id", ""), str):
                raise JobError(f"{path}: {key}[{index}]: 'id' is {found!r}; write a text")
            if found:
                yield found


def _objects(found: Any, where: str) -> list[Mapping[str, Any]]:
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise JobError(f"{where} is {found!r}; it must be a list of objects")
    return found
