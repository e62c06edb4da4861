"""Types of the standard library and of flare-core that are registered by default.

An object is encoded as a list of its type's name and its state: ``["timedelta", days, seconds, microseconds]``. The
state is untrusted, so every ``decode`` checks it, or calls a constructor that does. Errors name types, not values, as
printing a value can be slow, and printing a tensor imports modules.
"""

from __future__ import annotations

import reprlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID

import numpy as np
from msgpack import ExtType

from flare_core.model import FLModel, MetaKey, ParamsType
from flare_core.task import Task
from flare_fobs import _registry
from flare_fobs._registry import add_enum, decomposers, encoders, field_parts
from flare_fobs._wire import INTEGER, Frames
from flare_fobs.errors import DecodeError, EncodeError

add = partial(_registry.add, is_builtin=True)


def _item_parts(values: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    return ((f"[{index}]", value) for index, value in enumerate(values))


def _text_part(value: Any) -> Iterable[tuple[str, Any]]:
    """Return a text as a part, as msgpack may fail to pack it: a file name need not be valid UTF-8."""
    return (("", str(value) if isinstance(value, PurePath) else str.__str__(value)),)


def _entry_parts(mapping: OrderedDict[Any, Any]) -> Iterable[tuple[str, Any]]:
    return ((f"[{reprlib.repr(key)}]", value) for key, value in mapping.items())


def _encode_integer(value: int, frames: Frames) -> Any:
    """Encode an integer of more than 64 bits; msgpack packs all others."""
    return ExtType(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


encoders[int] = _encode_integer

add(tuple, "tuple", lambda value: value, tuple, _item_parts)
add(set, "set", lambda value: value, set, _item_parts)
add(frozenset, "frozenset", lambda value: value, frozenset, _item_parts)
add(
    OrderedDict,
    "OrderedDict",
    lambda value: [item for entry in value.items() for item in entry],
    lambda state: OrderedDict(zip(state[::2], state[1::2], strict=True)),
    _entry_parts,
)


def _strictly(build: Callable[..., Any], *kinds: type) -> Callable[[list[Any]], Any]:
    """Return a decoder that calls ``build`` with the items of a state if they are exactly of these types."""

    def decode(state: list[Any]) -> Any:
        if tuple(map(type, state)) != kinds:
            raise DecodeError(f"a state of {_names(map(type, state))} instead of {_names(kinds)}")
        return build(*state)

    return decode


def _names(kinds: Iterable[type]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)


add(complex, "complex", lambda value: (value.real, value.imag), _strictly(complex, float, float))
add(np.str_, "numpy.str", lambda value: (str.__str__(value),), _strictly(np.str_, str), _text_part)
add(np.bytes_, "numpy.bytes", lambda value: (bytes(value),), _strictly(np.bytes_, bytes))
add(Decimal, "Decimal", lambda value: (str(value),), _strictly(Decimal, str))
add(UUID, "UUID", lambda value: (value.bytes,), _strictly(lambda data: UUID(bytes=data), bytes))


def _add_path(flavour: type[PurePath], concrete: type[PurePath], name: str) -> None:
    """Register a path type; it is decoded as a pure path, as the file is on the sender's machine."""
    add(flavour, name, lambda value: (str(value),), _strictly(flavour, str), _text_part)
    encoders[concrete] = encoders[flavour]
    decomposers[concrete] = decomposers[flavour]


_add_path(PurePosixPath, PosixPath, "path.posix")
_add_path(PureWindowsPath, WindowsPath, "path.windows")


def _fixed(zone: tzinfo | None, offset: timedelta | None) -> timezone | None:
    """Return a zone with a fixed offset: decoding the name of a time zone would read files."""
    if zone is None or type(zone) is timezone:
        return zone
    if offset is None:
        raise EncodeError(f"the time zone {zone} has no offset without a date; send a datetime, or a fixed timezone")
    return timezone(offset)


def _moment(build: Callable[..., Any], count: int) -> Callable[[list[Any]], Any]:
    """Return a decoder that calls ``build`` with ``count`` numbers, a fold and a zone.

    Types are checked first: datetime and time would also accept the bytes of a pickle, without checking them.
    """

    def decode(state: list[Any]) -> Any:
        *numbers, fold, zone = state
        kinds = set(map(type, [*numbers, fold]))
        if kinds != {int} or len(numbers) != count or not (zone is None or type(zone) is timezone):
            raise DecodeError(f"a state of {_names(map(type, state))} instead of {count} numbers, fold and timezone")
        return build(*numbers, zone, fold=fold)

    return decode


def _datetime_state(value: datetime) -> tuple[Any, ...]:
    zone = _fixed(value.tzinfo, value.utcoffset())
    day = (value.year, value.month, value.day)
    return (*day, value.hour, value.minute, value.second, value.microsecond, value.fold, zone)


def _time_state(value: time) -> tuple[Any, ...]:
    zone = _fixed(value.tzinfo, value.utcoffset())
    return value.hour, value.minute, value.second, value.microsecond, value.fold, zone


add(datetime, "datetime", _datetime_state, _moment(datetime, 7))
add(time, "time", _time_state, _moment(time, 4))
add(date, "date", lambda value: (value.year, value.month, value.day), _strictly(date, int, int, int))
add(
    timedelta,
    "timedelta",
    lambda value: (value.days, value.seconds, value.microseconds),
    _strictly(timedelta, int, int, int),
)
# The offset, and the name if there is one; pickle uses the same.
add(timezone, "timezone", lambda value: value.__getinitargs__(), lambda state: timezone(*state))

add_enum(ParamsType, "flare.ParamsType", is_builtin=True)
add_enum(MetaKey, "flare.MetaKey", is_builtin=True)


def _model_state(model: FLModel) -> tuple[Any, ...]:
    kind = model.params_type
    return (
        None if kind is None else str(kind),
        model.params,
        model.optimizer_params,
        model.metrics,
        model.start_round,
        model.current_round,
        model.total_rounds,
        model.meta,
    )


def _model(state: list[Any]) -> FLModel:
    params_type, params, optimizer_params, metrics, start, current, total, meta = state
    rounds_fit = all(value is None or isinstance(value, int | np.integer) for value in (start, current, total))
    if not rounds_fit or type(params_type) not in (str, type(None)):
        raise DecodeError(f"a model of {_names(map(type, state))}; params_type is a string, and rounds are integers")
    return FLModel(params_type, params, optimizer_params, metrics, start, current, total, meta)


def _task(state: list[Any]) -> Task:
    name, data, number, round_, stays = state
    fits = type(name) is str and type(number) is int and type(stays) is bool and type(round_) in (int, type(None))
    if not fits:
        raise DecodeError(f"a task of {_names(map(type, state))}; it has a name, data, an id, a round and a flag")
    return Task(name, data, number, round=round_, result_stays=stays)


def _task_parts(task: Task) -> Iterable[tuple[str, Any]]:
    return ((".data", task.data),)


add(FLModel, "flare.FLModel", _model_state, _model, field_parts)
add(
    Task,
    "flare.Task",
    lambda task: (task.name, task.data, task.id, task.round, task.result_stays),
    _task,
    _task_parts,
)
