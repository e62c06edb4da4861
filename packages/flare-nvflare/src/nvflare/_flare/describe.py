"""Objects as class path and arguments, the form in which a job folder holds them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from flare_core import JobError

_PLAIN = (str, int, float, bool, type(None))
_OURS = ("nvflare", "flare_core", "flare_runtime", "flare_deploy")

Visit = Callable[[type], None]


@dataclass(eq=False, slots=True)
class Described:
    """A part of a job that is known by its class path, so that its class need not be imported here."""

    path: str
    args: dict[str, Any]


def describe(value: Any, visit: Visit = lambda cls: None) -> dict[str, Any]:
    """Return an object's class path and arguments, as ``{"path", "args"}``.

    The arguments are those of the constructors of its classes that the object keeps in an attribute of the same name,
    with an underscore or without, if they differ from the default.

    Args:
        value: the object.
        visit: called with the class of the object, and of each object among the arguments.
    Raises:
        JobError: the class is defined in a function, or an argument has no JSON form.
    """
    if isinstance(value, Described):
        return {"path": value.path, "args": _plain(value.args, value.path, visit)}
    cls = type(value)
    if "<locals>" in cls.__qualname__:
        raise JobError(f"{cls.__qualname__} is defined in a function; move it to a module, which travels with the job")
    visit(cls)
    path = f"{module_of(cls)}.{cls.__qualname__}"
    kept = getattr(value, "__dict__", {})
    always = getattr(value, "_always_serialize_args", ())
    args = {}
    for parameter in _parameters(cls):
        attribute = next((each for each in (parameter.name, f"_{parameter.name}") if each in kept), None)
        if attribute is None:
            continue
        current = kept[attribute]
        if parameter.name in always or parameter.default is parameter.empty or _differs(current, parameter.default):
            args[parameter.name] = _plain(current, f"{path}.{parameter.name}", visit)
    return {"path": path, "args": args}


def module_of(cls: type) -> str:
    """Return the module of a class; for the launching script, the name by which a job can import it."""
    if cls.__module__ != "__main__":
        return cls.__module__
    return Path(inspect.getfile(cls)).stem


def is_ours(cls: type) -> bool:
    """Return True if the class is part of Flare, so that its code is installed everywhere."""
    return cls.__module__.partition(".")[0] in _OURS


def _parameters(cls: type) -> list[inspect.Parameter]:
    """Return the parameters of a class's constructor, and those of its base that it passes others on to."""
    found: dict[str, inspect.Parameter] = {}
    for each in cls.__mro__:
        if "__init__" not in vars(each) or each is object:
            continue
        parameters = list(inspect.signature(vars(each)["__init__"]).parameters.values())[1:]
        passes_on = False
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                passes_on = True
            else:
                found.setdefault(parameter.name, parameter)
        if not passes_on:
            break
    return list(found.values())


def _differs(value: Any, default: Any) -> bool:
    if value is None or default is None:
        return value is not default
    different = value != default
    return different if isinstance(different, bool) else True


def _plain(value: Any, where: str, visit: Visit) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{where}[{key!r}]", visit) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner, f"{where}[{index}]", visit) for index, inner in enumerate(value)]
    if isinstance(value, type) or (callable(value) and not hasattr(value, "__dict__")):
        raise JobError(f"{where} is {value!r}, which a job folder cannot hold; give an object or its class path")
    if hasattr(value, "tolist") and type(value).__module__ == "numpy":
        return value.tolist()
    if type(value).__module__ == "builtins":
        raise JobError(f"{where} is a {type(value).__name__}, which a job folder cannot hold; give plain values")
    return describe(value, visit)
