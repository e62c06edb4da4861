"""Preloading: slow packages are imported once, before the workers are forked, which then share them."""

from __future__ import annotations

import ast
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path

from flare_core import Job

logger = logging.getLogger(__name__)

SLOW = ("torch", "scipy", "sklearn", "pandas")
"""Packages that are slow to import and work after a fork."""

LOADED_LATER = {"torch.optim": "torch._dynamo"}
"""Modules that another one imports at its first use, which takes most of a second for the first optimizer."""


def preload(job: Job) -> None:
    """Import the modules of slow packages that the job's code mentions.

    An import that fails is ignored: the site whose script needs it reports the error.
    """
    for name in sorted(each for each in mentioned(job) if each.partition(".")[0] in SLOW):
        for module in (name, LOADED_LATER.get(name)):
            if module is not None:
                try:
                    importlib.import_module(module)
                except Exception as error:
                    logger.debug("not preloaded module=%s error=%s", module, error)


def mentioned(job: Job) -> set[str]:
    """Return the names that the job's code imports: modules, and attributes that may be modules."""
    found: set[str] = set()
    for code in (job.code, *(app.code for app in job.sites.values() if app.code is not None)):
        for place in code.files:
            if place.suffix == ".py":
                found.update(_mentioned(code.root / place))
    return found


def _mentioned(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # the site that runs the file reports the error
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
