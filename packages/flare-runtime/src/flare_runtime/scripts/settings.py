"""Process-wide settings of the system and of libraries, saved and restored for each script that shares a process.

The list holds settings that affect what a script computes or writes. numpy's error handling, torch's gradient mode and
autocast, decimal's precision and scikit-learn's configuration are not in it: they are per thread, and each script has a
thread of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Values: TypeAlias = dict[str, Any]
"""The values of settings by name; a setting without an entry has its initial value."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """Functions that read and write one setting, given its module."""

    module: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], Any]


def _umask(system: Any) -> int:
    mask: int = system.umask(0o077)  # there is no other way to read it
    system.umask(mask)
    return mask


def _write_filters(module: Any, filters: list[Any]) -> None:
    with module.catch_warnings():
        pass  # leaving the block resets the interpreter's cache of which filter applies where
    module.filters[:] = filters


def _write_locale(module: Any, name: str) -> None:
    module.setlocale(module.LC_ALL, name)


_SETTINGS = {
    "umask": _Setting("os", _umask, lambda system, mask: system.umask(mask)),
    "warnings": _Setting("warnings", lambda module: module.filters[:], _write_filters),
    "locale": _Setting("locale", lambda module: module.setlocale(module.LC_ALL), _write_locale),
    "torch dtype": _Setting(
        "torch", lambda torch: torch.get_default_dtype(), lambda torch, dtype: torch.set_default_dtype(dtype)
    ),
    "torch determinism": _Setting(
        "torch",
        lambda torch: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda torch, how: torch.use_deterministic_algorithms(how[0], warn_only=how[1]),
    ),
    "torch precision": _Setting(
        "torch",
        lambda torch: torch.get_float32_matmul_precision(),
        lambda torch, name: torch.set_float32_matmul_precision(name),
    ),
    "keras dtype": _Setting(
        "keras.src.backend.config", lambda module: module.floatx(), lambda module, dtype: module.set_floatx(dtype)
    ),
}

_initial: Values = {}


def note_initial(module: str | None = None) -> None:
    """Record the current values, of all loaded modules or of one, as those that every script starts with."""
    for name, setting in _SETTINGS.items():
        if name in _initial or setting.module not in sys.modules:
            continue
        if module is None or module == setting.module.partition(".")[0]:
            _initial[name] = setting.read(sys.modules[setting.module])


def keep() -> Values:
    """Return the current values."""
    return {
        name: setting.read(sys.modules[setting.module])
        for name, setting in _SETTINGS.items()
        if setting.module in sys.modules
    }


def restore(values: Mapping[str, Any]) -> None:
    """Apply saved values; a setting without one gets its initial value. Equal values are not written again."""
    for name, value in keep().items():
        wanted = values.get(name, _initial.get(name, value))
        if wanted != value:
            setting = _SETTINGS[name]
            setting.write(sys.modules[setting.module], wanted)
