"""The parameters of a recipe as plain values for the record of its runs, with secrets masked."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from flare_core.components import Component
from flare_core.errors import JobError
from flare_core.job import ClientApp, Job, ServerApp
from flare_core.selection import as_number

if TYPE_CHECKING:
    from flare_core.recipe import Recipe

MASK = "***"
MOST_TEXT = 1000  # characters and entries up to which a value is recorded in full
MOST_ENTRIES = 200

_SECRET = r"(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)"
_SECRET_NAME = re.compile(rf"(?:^|[_\W]){_SECRET}$", re.IGNORECASE)
_IN_TEXT = (
    (re.compile(r"(\w[\w+.-]*://[^\s/@:]*):[^\s/]*@"), rf"\1:{MASK}@"),  # scheme://user:password@host
    (re.compile(rf"((?:^|[\W_]){_SECRET}=)[^\s&]+", re.IGNORECASE), rf"\1{MASK}"),  # ?token=…, --password=…
    (re.compile(rf"(--?[\w-]*{_SECRET}\s+)(?!-)\S+", re.IGNORECASE), rf"\1{MASK}"),  # --password …
)


def recorded_recipe(recipe: Recipe, job: Job) -> dict[str, Any]:
    """Describe a recipe for the record of its runs.

    The entries are ``class``, ``arguments``, ``added`` (filters and components by the app that runs them) and ``code``
    (a digest of each Python file of the job). All values are JSON values. An object is described by its class and
    arguments, an array by its shape and a digest; values that look like a password, a token or a key are masked.

    Args:
        recipe: the recipe.
        job: the job that it built, with everything that was added to it.
    """
    arguments = {each.name: recipe.recorded(each.name) for each in fields(recipe) if each.init}
    return {
        "class": recipe.public_name(),
        "arguments": {name: plain(value, name) for name, value in arguments.items()},
        "added": _added(job),
        "code": _code(job),
    }


def parameters_of(job: Job) -> dict[str, Any]:
    """Return the description of a job's recipe from :func:`recorded_recipe`.

    A job that no recipe made is described by its first workflow.
    """
    found = job.meta.get("recipe")
    if isinstance(found, Mapping) and isinstance(found.get("arguments"), Mapping):
        return {
            "class": str(found.get("class")),
            "arguments": {str(name): plain(value, str(name)) for name, value in found["arguments"].items()},
            "added": plain(found.get("added") or {}),
            "code": plain(found.get("code") or {}),
        }
    workflow = job.server.workflows[0] if job.server.workflows else Component("none")
    described = plain(workflow)
    arguments = {"min_clients": job.min_clients, "seed": job.seed, **described["args"]}
    return {"class": described["path"], "arguments": arguments, "added": _added(job), "code": _code(job)}


def recorded_model(model: Any) -> Any:
    """Return the record of an initial model: its class or, if it was given as one, its description."""
    if model is None or (isinstance(model, Mapping) and {"class_path", "path"} & set(model)):
        return plain(model)
    return _path_of(model if isinstance(model, type) else type(model))


def plain(value: Any, name: str = "") -> Any:
    """Return a value as a JSON value or, if it cannot be one, a description; secrets are masked.

    Args:
        value: anything.
        name: the name of the value; if it is a name such as ``password``, the value is masked.
    """
    if name and value is not None and _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str | PurePath):
        return _short(_masked(str(value)))
    if isinstance(value, Mapping):
        return _limited({str(key): plain(inner, str(key)) for key, inner in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return _limited(_masked_words([plain(inner) for inner in value]))
    if isinstance(value, Component):
        return _component(value)
    return _described(value)


def _described(value: Any) -> Any:
    shape = getattr(value, "shape", None)
    if shape == () and (number := as_number(value)) is not None:
        return plain(number)
    path = _path_of(value if isinstance(value, type) else type(value))
    if shape is not None and hasattr(value, "tobytes"):
        return f"{path} {tuple(shape)} {_digest(value.tobytes())}"
    return path if isinstance(value, type) else _component(Component(path, {}, value))


def _path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.").removeprefix("__main__.")


def _component(component: Component) -> Any:
    try:
        described = component.description()
    except (JobError, TypeError, ValueError, RecursionError):  # its arguments cannot be read back
        return {"path": component.class_path, "args": {}}
    return {"path": described["path"], "args": plain(described["args"])}


def _added(job: Job) -> dict[str, Any]:
    """Describe the filters and components of a job by the app that runs them."""
    found: dict[str, Any] = {}
    apps: dict[str, ServerApp | ClientApp] = {"server": job.server, "sites": job.client, **job.sites}
    for where, app in apps.items():
        for what in ("task_data_filters", "task_result_filters"):
            if made := [plain(each) for entry in getattr(app, what) for each in entry.filters]:
                found[f"{where} {what}"] = made
        if components := {name: plain(each) for name, each in app.components.items() if name != "persistor"}:
            found[f"{where} components"] = components
    return _limited(found)  # type: ignore[no-any-return]  # a dict of few entries stays one


def _code(job: Job) -> Any:
    """Return digests of a job's Python files: two runs may differ only in a line of their script."""
    bundles = {"": job.code} | {f"{name}/": app.code for name, app in job.sites.items() if app.code is not None}
    files = {
        f"{where}{place}": bundle.locate(str(place))
        for where, bundle in bundles.items()
        for place in sorted({*bundle.files, *bundle.extra})
        if place.suffix == ".py"
    }
    return _limited({name: _digest(path.read_bytes()) for name, path in files.items()})


def _masked(text: str) -> str:
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _masked_words(values: list[Any]) -> list[Any]:
    """Mask the word after an option such as ``--password`` in a command line given as a list."""
    words = [each if isinstance(each, str) else "" for each in values]
    return [
        MASK if index and words[index - 1].startswith("-") and _SECRET_NAME.search(words[index - 1]) else value
        for index, value in enumerate(values)
    ]


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}… {len(text)} characters, {_digest(text.encode())}"


def _limited(values: Any) -> Any:
    """Return a dict or a list or, if it is very long, its length and a digest, which can still be compared."""
    if len(values) <= MOST_ENTRIES:
        return values
    return f"{len(values)} entries, {_digest(json.dumps(values, sort_keys=True).encode())}"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()[:12]}"
