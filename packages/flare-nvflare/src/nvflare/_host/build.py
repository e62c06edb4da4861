"""Components from their descriptions in a job's configuration."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from flare_core import JobError
from flare_core.components import import_class

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ALL = {"path", "class_path", "name", "args", "id", "config_type", "disabled"}

_BY_NAME = (
    "nvflare.app_common.workflows",
    "nvflare.app_common.aggregators",
    "nvflare.app_common.shareablegenerators",
    "nvflare.app_common.widgets",
    "nvflare.app_common.np",
    "nvflare.app_common.filters",
    "nvflare.app_opt.pt",
    "nvflare.app_common.executors",
)
"""Packages in which a class is looked up that a configuration names without its path."""


def class_path_of(entry: Mapping[str, Any], where: str = "a component") -> str:
    """Return the class path in a description.

    Raises:
        JobError: it has none, or its class is not known.
    """
    path = entry.get("path") or entry.get("class_path")
    if isinstance(path, str) and "." in path:
        return path
    name = path or entry.get("name")
    if not isinstance(name, str) or not name:
        raise JobError(f"{where} is {dict(entry)!r}; it needs a 'path' such as package.module.Class")
    found = _find(name)
    if found is None:
        raise JobError(f"{where} is {name!r}, which is no class that Flare knows; give its full path as 'path'")
    return found


def build_component(entry: Any, variables: Mapping[str, Any]) -> Any:
    """Create a component; None if it is disabled.

    Args:
        entry: its description.
        variables: values for ``{name}`` in strings.
    Raises:
        JobError: its class cannot be imported or rejects the arguments; the cause is attached.
    """
    if entry is None or entry.get("disabled"):
        return None
    path = resolved(class_path_of(entry), variables)
    cls = import_class(path)
    given = {} if entry.get("args") is None else entry["args"]
    if not isinstance(given, Mapping):
        raise JobError(f"the arguments of {path} are {given!r}; write an object of arguments by name as 'args'")
    args = {name: _built(value, variables) for name, value in given.items()}
    try:
        return cls(**args)
    except Exception as error:
        text = f"{path} cannot be created with arguments {sorted(args)}: {type(error).__name__}: {error}"
        raise JobError(text) from error


def resolved(value: Any, variables: Mapping[str, Any]) -> Any:
    """Return a value with ``{name}`` in its strings replaced; unknown names stay."""
    if isinstance(value, str):
        whole = _NAME.fullmatch(value)
        if whole and whole[1] in variables:
            return variables[whole[1]]
        return _NAME.sub(lambda found: str(variables.get(found[1], found[0])), value)
    if isinstance(value, Mapping):
        return {key: resolved(each, variables) for key, each in value.items()}
    return [resolved(each, variables) for each in value] if isinstance(value, list) else value


def _built(value: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        is_component = ("path" in value or "class_path" in value) and set(value) <= _ALL
        if is_component and value.get("config_type") != "dict":
            return build_component(value, variables)
        return {key: _built(each, variables) for key, each in value.items() if key != "config_type"}
    return [_built(each, variables) for each in value] if isinstance(value, list) else resolved(value, variables)


def _find(name: str) -> str | None:
    """Look a class up by its name alone."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    for package in _BY_NAME:
        for module in (f"{package}.{snake}", package):
            try:
                if hasattr(importlib.import_module(module), name):
                    return f"{module}.{name}"
            except ImportError:
                continue
    return None
