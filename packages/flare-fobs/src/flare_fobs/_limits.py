"""Limits of size, depth and number of items, which are checked before any object is built from a message.

They bound the memory that decoding hostile metadata can take: about 100 bytes for each item, or 35 bytes for each byte
of metadata, whichever is more. Senders check them too, where the path to the value is known.

A message of a few bytes can claim any nesting, so the depth is checked on the packed bytes: msgpack's C unpacker walks
them without building objects, and allows at most ``_STACK`` open containers. After a prefix of ``_STACK - MAX_DEPTH``
open containers it therefore refuses exactly the messages that are deeper than ``MAX_DEPTH``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgpack import OutOfData, StackError, Unpacker, unpackb

from flare_fobs.errors import DecodeError, LimitError

MAX_BYTES = 64 * 2**20  # of the metadata; large arrays are outside of it
MAX_DEPTH = 64  # of containers and registered objects
MAX_ITEMS = 1_000_000  # containers, and values in containers, each on its own

_STACK = 1024
_OPENS_NO_CONTAINER = bytes(set(range(256)) - {*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF})

if Unpacker.__module__.endswith("fallback"):
    raise ImportError(
        "msgpack runs without its C code, whose limits protect from hostile messages; install a wheel of msgpack that"
        " has it, and unset MSGPACK_PUREPYTHON"
    )


def check_metadata(metadata: bytes) -> None:
    """Refuse metadata that is too large, too deep, or has too many items.

    Raises:
        LimitError: it is.
        DecodeError: the metadata is malformed; only detected if the depth or the items have to be measured.
    """
    if len(metadata) > MAX_BYTES:
        raise LimitError(
            f"the metadata has {len(metadata)} bytes, the limit is {MAX_BYTES}; put large bytes and long lists of"
            " numbers into numpy arrays, which are sent outside of it"
        )
    # Bytes of text and numbers are counted as well, so this can only overestimate the depth.
    if len(metadata.translate(None, _OPENS_NO_CONTAINER)) > MAX_DEPTH and _is_deeper(metadata):
        raise LimitError(f"nested deeper than {MAX_DEPTH} levels; flatten it")
    if len(metadata) > MAX_ITEMS:  # every value takes at least a byte
        _count(metadata)


def decode_error(error: Exception) -> DecodeError:
    """Return the error for a foreign exception that was raised while bytes were decoded."""
    text = f"{error!s:.200}"
    if f"exceeds max_array_len({MAX_ITEMS})" in text or f"exceeds max_map_len({MAX_ITEMS})" in text:
        return _too_many()
    return DecodeError(f"not a valid message: {type(error).__name__}: {text}")


def _too_many() -> LimitError:
    return LimitError(f"more than {MAX_ITEMS} values or containers; put numbers into a numpy array")


def _is_deeper(metadata: bytes) -> bool:
    data = b"\x91" * (_STACK - MAX_DEPTH) + metadata
    unpacker = Unpacker(read_size=len(data), max_buffer_size=len(data))
    unpacker.feed(data)
    try:
        unpacker.skip()
    except StackError:
        return True
    except OutOfData:
        raise DecodeError("the metadata ends too early; the message is truncated") from None
    if unpacker.tell() != len(data):
        raise DecodeError("there is data after the end of the metadata; two messages were joined, or this is none")
    return False


def _count(metadata: bytes) -> None:
    """Count containers and values; each container is discarded when it has been read."""
    containers = values = 0

    def count(container: Collection[Any]) -> None:
        nonlocal containers, values
        containers += 1
        values += len(container)
        if max(containers, values) > MAX_ITEMS:
            raise _too_many()

    try:
        unpackb(
            metadata,
            strict_map_key=False,
            list_hook=count,
            object_pairs_hook=count,
            ext_hook=lambda code, data: None,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
        )
    except LimitError:
        raise
    except Exception as error:
        raise decode_error(error) from error
