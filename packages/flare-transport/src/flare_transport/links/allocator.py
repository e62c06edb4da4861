"""Settings of the C library's allocator for processes with gRPC links.

gRPC copies each chunk of a link into new memory a few times. By default the GNU C library requests that memory from the
system and returns it at once, which takes longer than the copying; so it is told to keep a little. It then returns only
what lies at the end of its memory, and one small object there can hold back everything before it; so it is told to
return all unused memory when a link has ended.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_FROM_SYSTEM_BYTES = 1 << 22  # larger than a chunk, smaller than what makes a model large
_KEPT_BYTES = 1 << 24


@functools.cache
def keep_chunk_memory() -> None:
    """Let the allocator reuse blocks of up to 4 MiB, and keep up to 16 MiB of them; only with the GNU C library."""
    _set({_M_MMAP_THRESHOLD: _FROM_SYSTEM_BYTES, _M_TRIM_THRESHOLD: _KEPT_BYTES})


def give_back_memory() -> None:
    """Return unused memory to the system, which takes some milliseconds; only with the GNU C library."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _set(settings: dict[int, int]) -> None:
    mallopt = _function("mallopt")
    if mallopt is not None and not all(mallopt(name, value) for name, value in settings.items()):
        logger.debug("the allocator takes no settings")


@functools.cache
def _function(name: str) -> Callable[..., int] | None:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None  # another C library
    return found
