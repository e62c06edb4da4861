"""The allow-list: the registered types, the name of each, and the functions that encode and decode it.

A name is a plain string that both sides agreed on. It is only looked up in this table: names are never imported, and a
payload can only call functions that its receiver has registered.
"""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from msgpack import ExtType

from flare_fobs._wire import HEAD, Frames
from flare_fobs.errors import DecodeError, EncodeError, RegistrationError

T = TypeVar("T")

_PACKED_NATIVELY = (type(None), bool, int, float, str, bytes, bytearray, memoryview, list, dict)
_MAX_NAME_BYTES = 255


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Decomposer:
    """The registry entry of a type; its encoding function is in ``encoders``.

    Args:
        decode: returns an object for the list that follows the type's name in the message.
        parts: returns the parts of an object, each with its path as in Python code; only used in error messages.
        is_builtin: registered by the serializer itself, and cannot be replaced.
    """

    type: type
    name: str
    decode: Callable[[list[Any]], Any]
    parts: Callable[[Any], Iterable[tuple[str, Any]]]
    is_builtin: bool = False


# Read without a lock on every message: single dict operations are atomic.
encoders: dict[type, Callable[[Any, Frames], Any]] = {}
decomposers: dict[type, Decomposer] = {}
by_name: dict[bytes, Decomposer] = {}
_lock = threading.Lock()


def register(type_: type[T], name: str, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Register ``type_``, but none of its subclasses, under ``name``; both sides have to register it.

    A type that is registered again under its name is replaced, also by a class of the same module and qualified name,
    as after reloading a module or running a notebook cell again.

    Args:
        encode: returns the object's state, which is any serializable object; must not change the object.
        decode: returns the object for such a state, which is untrusted.

    Raises:
        RegistrationError: the name belongs to another type, or the type to another name.
    Example:
        >>> class Celsius:
        ...     def __init__(self, degrees):
        ...         self.degrees = degrees
        >>> register(Celsius, "Celsius", lambda value: value.degrees, Celsius)
    """

    def parts(value: T) -> Iterable[tuple[str, Any]]:
        return (("", encode(value)),)

    add(type_, name, lambda value: (encode(value),), lambda state: decode(*_one(state, name)), parts)


@overload
def register_dataclass(cls: type[T], name: str | None = None) -> type[T]: ...
@overload
def register_dataclass(cls: None = None, name: str | None = None) -> Callable[[type[T]], type[T]]: ...
def register_dataclass(cls: type[T] | None = None, name: str | None = None) -> Any:
    """Register a dataclass; usable as a decorator, with or without a name.

    Fields are sent with their names: a receiver whose class lacks a field refuses the object; additional fields of the
    receiver's class get their defaults. ``__post_init__`` runs when an object is decoded.

    Args:
        name: by default, the class's name without its module.

    Raises:
        RegistrationError: ``cls`` is not a dataclass, or see :func:`register`.
    Example:
        >>> @register_dataclass(name="example.Point")
        ... @dataclasses.dataclass
        ... class Point:
        ...     x: float
        ...     y: float = 0.0
    """
    if cls is None:
        return lambda decorated: register_dataclass(decorated, name)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise RegistrationError(f"{cls!r} is not a dataclass; put @dataclass below @register_dataclass")
    fields = dataclasses.fields(cls)
    names = tuple(field.name for field in fields)
    set_later = frozenset(field.name for field in fields if not field.init)
    known = frozenset(names)

    def state(value: Any) -> Iterable[Any]:
        return [item for field in names for item in (field, getattr(value, field))]

    def decode(items: list[Any]) -> Any:
        values = dict(zip(items[::2], items[1::2], strict=True))
        for field in values:
            if type(field) is not str or field not in known:
                shown = field[:40] if type(field) is str else type(field)
                raise DecodeError(f"{cls.__name__} has no field {shown!r}; the sender runs another version")
        late = {field: values.pop(field) for field in set_later & values.keys()}
        result = cls(**values)
        for field, value in late.items():
            object.__setattr__(result, field, value)
        return result

    add(cls, name or cls.__name__, state, decode, field_parts)
    return cls


E_ = TypeVar("E_", bound=enum.Enum)


@overload
def register_enum(cls: type[E_], name: str | None = None) -> type[E_]: ...
@overload
def register_enum(cls: None = None, name: str | None = None) -> Callable[[type[E_]], type[E_]]: ...
def register_enum(cls: type[E_] | None = None, name: str | None = None) -> Any:
    """Register an Enum, whose members are sent by name, or a Flag, by value; usable as a decorator.

    Args:
        name: by default, the class's name without its module.

    Raises:
        RegistrationError: ``cls`` is not an Enum, or see :func:`register`.
    Example:
        >>> @register_enum
        ... class Colour(enum.Enum):
        ...     RED = "r"
    """
    if cls is None:
        return lambda decorated: register_enum(decorated, name)
    if not isinstance(cls, type) or not issubclass(cls, enum.Enum):
        raise RegistrationError(f"{cls!r} is not an Enum")
    add_enum(cls, name or cls.__name__)
    return cls


def add_enum(cls: type[enum.Enum], name: str, *, is_builtin: bool = False) -> None:
    """Register an Enum."""
    if issubclass(cls, enum.Flag):
        add(cls, name, lambda member: (member.value,), lambda state: cls(*_one(state, name)), is_builtin=is_builtin)
        return
    members = cls.__members__

    def decode(state: list[Any]) -> enum.Enum:
        (member,) = _one(state, name)
        if type(member) is not str or member not in members:
            shown = member[:40] if type(member) is str else type(member)
            raise DecodeError(f"{name} has no member {shown!r}; the sender runs another version")
        return members[member]

    add(cls, name, lambda member: (member.name,), decode, is_builtin=is_builtin)


def add(
    type_: type[T],
    name: str,
    state: Callable[[Any], Iterable[Any]],
    decode: Callable[[list[Any]], Any],
    parts: Callable[[Any], Iterable[tuple[str, Any]]] = lambda value: (),
    *,
    is_builtin: bool = False,
) -> None:
    """Register a type whose ``state`` returns any number of items; ``decode`` gets them as a list."""
    key = _checked_name(name)
    head = ExtType(HEAD, key)

    def encode(value: Any, frames: Frames) -> list[Any]:
        return [head, *state(value)]

    decomposer = Decomposer(type_, name, decode, parts, is_builtin)
    with _lock:
        _check_free(type_, name, by_name.get(key), decomposers.get(type_))
        by_name[key] = decomposers[type_] = decomposer
        encoders[type_] = encode


def field_parts(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the fields of a dataclass object as parts."""
    return ((f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value))


def refuse_unregistered(type_: type) -> EncodeError:
    """Return the error for a type that is not registered, with the remedy."""
    name = type_.__name__
    if issubclass(type_, enum.Enum):
        remedy = f"register it with flare_fobs.register_enum({name})"
    elif dataclasses.is_dataclass(type_):
        remedy = f"register it with flare_fobs.register_dataclass({name})"
    elif plain := next((base for base in (dict, list, tuple, str, int, float, bytes) if issubclass(type_, base)), None):
        remedy = (
            f"a subclass of {plain.__name__} would arrive as something else: convert it with {plain.__name__}(…), or"
            f" register it with flare_fobs.register({name}, …)"
        )
    elif hasattr(type_, "keys") and hasattr(type_, "__getitem__"):
        remedy = f"read it into a dict with dict(…), or register it with flare_fobs.register({name}, …)"
    else:
        remedy = (
            "convert it to numbers, strings, lists, dicts and arrays, or register it with"
            f" flare_fobs.register({name}, …)"
        )
    return EncodeError(f"cannot serialize {type_.__module__}.{type_.__qualname__}; {remedy}")


def _one(state: list[Any], name: str) -> list[Any]:
    if len(state) != 1:
        raise DecodeError(f"{name} has {len(state)} states instead of one; the sender runs another version")
    return state


def _checked_name(name: str) -> bytes:
    try:
        key = name.encode()
    except (AttributeError, UnicodeEncodeError):
        key = b""
    if not 0 < len(key) <= _MAX_NAME_BYTES:
        raise RegistrationError(f"the name {name!r:.80} is unusable; give a string of 1 to {_MAX_NAME_BYTES} bytes")
    return key


def _check_free(type_: type, name: str, same_name: Decomposer | None, same_type: Decomposer | None) -> None:
    if type_ in _PACKED_NATIVELY:
        raise RegistrationError(f"{type_.__name__} is serialized natively and cannot be registered")
    if same_type is not None and (same_type.is_builtin or same_type.name != name):
        raise RegistrationError(f"{type_.__qualname__} is already registered, as {same_type.name!r}")
    if same_name is None or same_name.type is type_:
        return
    other = same_name.type
    if same_name.is_builtin or (other.__module__, other.__qualname__) != (type_.__module__, type_.__qualname__):
        raise RegistrationError(
            f"the name {name!r} belongs to {other.__module__}.{other.__qualname__}; register"
            f" {type_.__module__}.{type_.__qualname__} under another name, on both sides"
        )
