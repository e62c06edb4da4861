"""Use of a job's code in a process: its modules, and the types that it registers for serialization."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum

from flare_core import Job, JobError
from flare_core.components import import_class
from flare_core.job import CodeBundle
from flare_fobs import FobsError, register_dataclass, register_enum


@contextmanager
def importable(code: CodeBundle) -> Iterator[None]:
    """Make the modules of a job's code importable during the block."""
    root = str(code.root)
    added = root not in sys.path
    if added:
        sys.path.insert(0, root)
    try:
        yield
    finally:
        if added and root in sys.path:
            sys.path.remove(root)


def decomposers_of(job: Job) -> list[str]:
    """Return the class paths that a job registers for serialization.

    Raises:
        JobError: ``decomposers`` in its ``meta.json`` is not a list of strings.
    """
    paths = job.meta.get("decomposers", [])
    if not isinstance(paths, list) or not all(isinstance(each, str) for each in paths):
        raise JobError(f"'decomposers' in meta.json is {paths!r}; write a list of class paths")
    return paths


def register_types(job: Job) -> None:
    """Register a job's types for serialization; see ``recipe.add_decomposers``.

    Raises:
        JobError: see :func:`register`.
    """
    with importable(job.code):
        register(decomposers_of(job))


def register(paths: Iterable[str]) -> None:
    """Register types by class path, which is also their name on the wire, or call functions that register types.

    Raises:
        JobError: a path cannot be imported or registered; names it.
    """
    for path in paths:
        found = import_class(path)
        try:
            if isinstance(found, type) and issubclass(found, Enum):
                register_enum(found, path)
            elif isinstance(found, type) and dataclasses.is_dataclass(found):
                register_dataclass(found, path)
            elif not isinstance(found, type) and callable(found):
                found()
            else:
                raise JobError(
                    f"decomposer {path!r} is neither a dataclass nor an Enum; give a function that calls"
                    " flare_fobs.register for it"
                )
        except FobsError as error:
            raise JobError(f"decomposer {path!r}: {error}") from error
