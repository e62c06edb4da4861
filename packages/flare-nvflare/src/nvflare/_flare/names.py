"""Names that are imported when they are used (PEP 562), and errors for those that are not provided."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nvflare._flare.errors import NotProvidedError, UnknownNameError

THEIRS = frozenset({"nvflare", "monai_nvflare"})
"""The import packages of NVIDIA FLARE; the second is that of a deprecated distribution for MONAI."""

Lazy = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def lazy(module: str, names: Mapping[str, str], missing: Mapping[str, str] | None = None) -> Lazy:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a module whose names are in other modules.

    Args:
        module: the name of the module.
        names: the module of each name, with ``:other`` appended if it is called otherwise there.
        missing: for names that are not provided, what to use instead.
    """

    def get(name: str) -> Any:
        if name in names:
            source, _, other = names[name].partition(":")
            value = getattr(importlib.import_module(source), other or name)
            setattr(sys.modules[module], name, value)
            return value
        if missing and name in missing:
            raise not_provided(f"{module}.{name}", missing[name])
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[module]), *names})

    return get, listed, list(names)


def not_provided(name: str, instead: str) -> NotProvidedError:
    """Return the error for the full name of something that Flare does not provide.

    Args:
        name: its full name.
        instead: what to do instead, as a sentence without a full stop.
    """
    return NotProvidedError(f"{name} is not provided by Flare: {instead}", name=name)


def check_import(distribution: str, package: str, what: str) -> None:
    """Check that a package of Flare is installed.

    Args:
        distribution: the name for pip.
        package: the name of the import package.
        what: the name that needs it, for the message.
    Raises:
        NotProvidedError: it is not; says what to install.
    """
    if importlib.util.find_spec(package) is None:
        raise not_provided(what, f"it is in another package; pip install {distribution}")


class ExplainingFinder:
    """Explains, as the last finder of all, why a module of NVIDIA FLARE cannot be imported.

    Args:
        missing: what to use instead, by the full name of a module; it holds for modules below it as well.
    """

    def __init__(self, missing: Mapping[str, str]) -> None:
        self._missing = missing

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """Find nothing.

        Raises:
            NotProvidedError: the module is one of those that are not provided.
            UnknownNameError: nothing is known of the module.
        """
        parts = name.split(".")
        if parts[0] not in THEIRS:
            return
        for length in range(len(parts), 0, -1):
            if (module := ".".join(parts[:length])) in self._missing:
                raise not_provided(name, self._missing[module])
        if not parts[-1].startswith("_"):
            raise UnknownNameError(
                f"{name} is not provided by Flare: check its spelling; docs/migration.md says what takes the place of"
                " NVIDIA FLARE's names",
                name=name,
            )
