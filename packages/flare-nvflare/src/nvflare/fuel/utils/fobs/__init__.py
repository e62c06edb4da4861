"""FOBS, a safe serializer: Flare's own, with the types that are registered in the way of NVIDIA FLARE.

The bytes are those of flare_fobs; files of NVIDIA FLARE cannot be read.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import flare_fobs
from flare_fobs import register_dataclass, register_enum
from nvflare._host import wire  # noqa: F401 (registers the types that parties exchange)
from nvflare.fuel.utils.fobs.decomposer import Decomposer

__all__ = [
    "add_type_name_whitelist",
    "auto_register_data_classes",
    "auto_register_enum_types",
    "deserialize",
    "deserialize_stream",
    "dump",
    "dumpf",
    "dumps",
    "get_dot_handler",
    "load",
    "loadf",
    "loads",
    "num_decomposers",
    "register",
    "register_custom_folder",
    "register_data_classes",
    "register_enum_types",
    "register_folder",
    "reset",
    "serialize",
    "serialize_stream",
]

_registered: dict[type, Decomposer] = {}


def register(decomposer: Any) -> None:
    """Register a decomposer, given as an object or as its class.

    Raises:
        TypeError: it is none.
    """
    made: Any = decomposer() if inspect.isclass(decomposer) else decomposer
    kind = getattr(made, "supported_type", None)
    if kind is None:
        raise TypeError(f"a {type(made).__name__} is no Decomposer")
    supported = kind()
    if supported in _registered or supported.__module__.partition(".")[0] in ("torch", "numpy", "builtins"):
        return  # Flare serializes arrays and tensors itself
    _registered[supported] = made
    name = f"{supported.__module__}.{supported.__qualname__}"
    flare_fobs.register(
        supported, name, lambda value: made.decompose(value, None), lambda data: made.recompose(data, None)
    )


def register_data_classes(*data_classes: type) -> None:
    """Register dataclasses.

    Raises:
        TypeError: one is none.
    """
    for cls in data_classes:
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"{cls!r} is no dataclass")
        register_dataclass(cls, f"{cls.__module__}.{cls.__qualname__}")


def register_enum_types(*enum_types: type[Enum]) -> None:
    """Register enums.

    Raises:
        TypeError: one is none.
    """
    for cls in enum_types:
        if not (inspect.isclass(cls) and issubclass(cls, Enum)):
            raise TypeError(f"{cls!r} is no Enum")
        register_enum(cls, f"{cls.__module__}.{cls.__qualname__}")


def auto_register_data_classes(enabled: bool = True) -> None:
    """Do nothing: Flare never registers types by itself."""


def auto_register_enum_types(enabled: bool = True) -> None:
    """Do nothing: Flare never registers types by itself."""


def add_type_name_whitelist(*names: str) -> None:
    """Do nothing: only types that were registered are read."""


def register_folder(folder: str, package: str) -> None:
    """Register the decomposers in the modules of a folder.

    Args:
        folder: the folder.
        package: the package of its modules.
    """
    import importlib

    for path in sorted(Path(folder).glob("*.py")):
        module = importlib.import_module(f"{package}.{path.stem}" if package else path.stem)
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Decomposer) and not inspect.isabstract(cls) and cls.__module__ == module.__name__:
                register(cls)


def register_custom_folder(folder: str) -> None:
    """Register the decomposers in the modules of a job's own code."""
    register_folder(folder, "")


def num_decomposers() -> int:
    """Return the number of registered decomposers."""
    return len(_registered)


def get_dot_handler(dot: int) -> None:
    """Return None: large data travel as those of Flare do."""


def reset() -> None:
    """Forget the registered decomposers."""
    _registered.clear()


def dumps(obj: Any, buffer_list: bool = False, max_value_size: int | None = None, fobs_ctx: Any = None) -> Any:
    """Serialize an object.

    Args:
        obj: the object.
        buffer_list: return a list of bytes.
        max_value_size, fobs_ctx: ignored.
    Raises:
        TypeError: something in it is of a type that is not registered.
    """
    try:
        data = flare_fobs.dumps(obj)
    except flare_fobs.EncodeError as error:
        raise TypeError(str(error)) from error
    return [data] if buffer_list else data


def loads(data: Any, fobs_ctx: Any = None) -> Any:
    """Return the object that :func:`dumps` serialized.

    Raises:
        ValueError: the bytes are no object, or one of a type that is not registered.
    """
    try:
        return flare_fobs.loads(b"".join(data) if isinstance(data, list) else bytes(data))
    except flare_fobs.FobsError as error:
        raise ValueError(str(error)) from error


def dump(obj: Any, stream: BinaryIO, max_value_size: int | None = None, fobs_ctx: Any = None) -> None:
    """Serialize an object into a stream.

    Args:
        obj: the object.
        stream: the stream.
        max_value_size, fobs_ctx: accepted.
    """
    stream.write(dumps(obj))


def load(stream: BinaryIO, fobs_ctx: Any = None) -> Any:
    """Return the object that :func:`dump` serialized."""
    return loads(stream.read())


def dumpf(obj: Any, file_path: str, max_value_size: int | None = None, fobs_ctx: Any = None) -> None:
    """Serialize an object into a file.

    Args:
        obj: the object.
        file_path: the file.
        max_value_size, fobs_ctx: accepted.
    """
    Path(file_path).write_bytes(dumps(obj))


def loadf(file_path: str, fobs_ctx: Any = None) -> Any:
    """Return the object that :func:`dumpf` serialized."""
    return loads(Path(file_path).read_bytes())


serialize: Callable[..., Any] = dumps
deserialize: Callable[..., Any] = loads
serialize_stream: Callable[..., None] = dump
deserialize_stream: Callable[..., Any] = load
