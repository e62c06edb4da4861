"""Verdicts on names of NVIDIA FLARE: the same, adapted, or not provided."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any

from nvflare._flare.errors import NotProvidedError, UnknownNameError
from nvflare._flare.missing import MONAI, OF_MONAI
from nvflare._host.scripts import is_connection, is_script_executor
from nvflare._migrate.rewriting import native_name

_CONTROLS = {
    "SwarmServerController": "a swarm is Flare's own",
    "SwarmClientController": "a swarm is Flare's own",
    "CyclicServerController": "the server runs the cycle",
    "CyclicClientController": "the server runs the cycle",
}


class Kind(StrEnum):
    """Kinds of verdicts."""

    SAME = "same"
    ADAPTED = "adapted"
    MISSING = "not provided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict on a name.

    Args:
        kind: same, adapted, or not provided.
        note: the native name, or what to use instead.
    """

    kind: Kind
    note: str = ""


@cache
def verdict_of(name: str) -> Verdict:
    """Return what becomes of a full name."""
    if is_script_executor(name) or is_connection(name):
        return Verdict(Kind.ADAPTED, "Flare starts and reaches scripts itself")
    if name.startswith("nvflare.app_common.ccwf.") and name.rpartition(".")[2] in _CONTROLS:
        return Verdict(Kind.ADAPTED, f"in job folders, {_CONTROLS[name.rpartition('.')[2]]}")
    if name.partition(".")[0] == "monai_nvflare":
        return Verdict(Kind.MISSING, OF_MONAI.get(name.rpartition(".")[2], MONAI))
    try:
        found = _resolved(name)
    except NotProvidedError as error:
        return Verdict(Kind.MISSING, str(error).partition(": ")[2] or str(error))
    except AttributeError:
        return Verdict(Kind.MISSING, "Flare has no such name")
    except ImportError as error:
        missing = error.name or ""
        if missing and not missing.startswith("nvflare"):
            return Verdict(Kind.ADAPTED, f"needs {missing}, which is not installed here")
        return Verdict(Kind.MISSING, "Flare has no such name")
    module = getattr(found, "__module__", None) or getattr(found, "__name__", "")
    native = native_name(name)
    if isinstance(module, str) and module.startswith("flare_"):
        last = getattr(found, "__name__", name.rpartition(".")[2])
        if isinstance(found, Enum):
            last = f"{type(found).__name__}.{found.name}"
        return Verdict(Kind.SAME, native or f"{module.partition('.')[0]}.{last}")
    return Verdict(Kind.ADAPTED, f"Flare's own: {native}" if native else "")


def _resolved(name: str) -> Any:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except UnknownNameError:
            continue  # perhaps a name in the module above
        except NotProvidedError:
            raise
        except ModuleNotFoundError as error:
            if error.name != ".".join(parts[:length]) and not ".".join(parts[:length]).startswith(f"{error.name}."):
                raise
            continue
        for each in parts[length:]:
            found = getattr(found, each)
        return found
    raise ImportError(name)
