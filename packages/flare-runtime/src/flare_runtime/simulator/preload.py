"""Loads, once for all workers, what the scripts will import and what takes long; forked workers share it."""

from __future__ import annotations

import ast
import gc
import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flare_core import Job

__all__ = ["mentioned", "preload"]

logger = logging.getLogger(__name__)

SLOW = ("torch", "scipy", "sklearn", "pandas")
"""Packages that take long to load, and survive a fork."""

LOADED_LATER = {"torch.optim": "torch._dynamo"}
"""What a module loads when it is first used: most of a second, for the first optimizer that is made."""

FROZEN_BY_PYTHON = 1000
"""More than any Python freezes by itself; 3.12 does some hundred objects."""


def preload(job: Job) -> None:
    """Import the modules of slow packages that the job's code mentions; the site that needs one reports what fails."""
    wanted = {name for name in mentioned(job) if name.partition(".")[0] in SLOW}
    if not wanted:
        return
    with _nothing_collected():
        for name in sorted(wanted):
            for module in (name, LOADED_LATER.get(name)):
                if module is not None:
                    _load(module)


def mentioned(job: Job) -> set[str]:
    """Names of the modules, and of what may be modules, that the job's code imports."""
    found: set[str] = set()
    for code in (job.code, *(app.code for app in job.sites.values() if app.code is not None)):
        for place in code.files:
            if place.suffix == ".py":
                found.update(_mentioned(code.root / place))
    return found


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Do not look for garbage among what is loaded now, which is to stay, nor afterwards as if it were new.

    Of half a million objects, as torch has, each look takes a tenth of a second, and loading more brings about several.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() < FROZEN_BY_PYTHON:  # or what the user has frozen would thaw
            gc.freeze()
            gc.unfreeze()  # now all is old
        gc.enable()


def _load(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        logger.debug("not preloaded module=%s error=%s", name, error)


def _mentioned(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # the site that runs it reports the error
    for node in ast.walk(tree):
        yield from _names(node)


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module, *(f"{module}.{alias.name}" for alias in node.names)]
        case ast.Attribute(value=ast.Name(id="torch"), attr="optim"):
            return ["torch.optim"]
        case _:
            return []
