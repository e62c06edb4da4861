"""Imports of packages that need not be installed."""

from __future__ import annotations

import importlib
import operator
from typing import Any

_OPERATORS = {
    "==": operator.eq,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
    ">=": operator.ge,
}


class OptionalImportError(ImportError):
    """A package that is not installed, or not in the version that is needed, was used."""


class _Absent:
    """Stands in for a module that could not be imported; using it says why."""

    def __init__(self, message: str) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        raise OptionalImportError(self._message)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        raise OptionalImportError(self._message)


def optional_import(
    module: str,
    op: str = "==",
    version: str = "",
    name: str = "",
    descriptor: str = "{}",
    allow_namespace_pkg: bool = False,
) -> tuple[Any, bool]:
    """Return a module, or something in it, and True; or what fails when it is used, and False.

    Args:
        module: the name of the module.
        op: how its version is compared with ``version``: ``==``, ``<=``, ``<``, ``>`` or ``>=``.
        version: a version; empty for any.
        name: something in the module; empty for the module itself.
        descriptor: a format for the message of the failure.
        allow_namespace_pkg: take a folder without ``__init__.py`` for a module.
    """
    try:
        found = _imported(module, op, version, allow_namespace_pkg)
        return (getattr(found, name) if name else found), True
    except (ImportError, AttributeError) as error:
        return _Absent(descriptor.format(f"import {module} ({error})")), False


def _imported(module: str, op: str, version: str, allow_namespace_pkg: bool) -> Any:
    """Return a module.

    Raises:
        ImportError: it cannot be imported, or has another version than is wanted.
    """
    found = importlib.import_module(module)
    if getattr(found, "__file__", None) is None and hasattr(found, "__path__") and not allow_namespace_pkg:
        raise ImportError(f"{module} is a folder without __init__.py")
    if version and not _OPERATORS[op](_parts(found.__version__), _parts(version)):
        raise ImportError(f"{module} is {found.__version__}, not {op} {version}")
    return found


def _parts(version: str) -> list[int]:
    """Return the numbers of a version."""
    return [int(part) for part in version.split("+")[0].split(".") if part.isdigit()]
