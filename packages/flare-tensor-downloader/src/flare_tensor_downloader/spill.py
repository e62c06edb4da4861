"""Receive tensors into a memory-mapped file, so that a model may be larger than the memory of the machine."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from flare_core.model import Key, key_text
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.safetensors_format import header_of
from flare_tensor_downloader.source import Entry

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class SpillFile:
    """A memory-mapped safetensors file; writing to its arrays writes to the file.

    Args:
        path: the file; an existing one is replaced.
        entries: the tensors.
    Raises:
        DownloadError: there is not enough space on the disk.
    """

    def __init__(self, path: Path, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        header = header_of([(key_text(entry.key), entry.numpy_dtype, entry.shape) for entry in entries])
        self._starts: dict[Key, int] = {}
        size = len(header)
        for entry in entries:
            self._starts[entry.key] = size
            size += entry.nbytes
        try:
            path.unlink(missing_ok=True)
            with path.open("x+b") as file:
                file.write(header)
                file.flush()
                if hasattr(os, "posix_fallocate"):
                    # A full disk is an error here; later, writing to a page would end the process with a signal.
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise DownloadError(f"{path}: no space for {size} bytes of tensors ({error.strerror})") from error

    def empty(self, entry: Entry) -> Array:
        """Return the array of a tensor, mapped from the file."""
        flat = np.frombuffer(self._map, np.uint8, entry.nbytes, self._starts[entry.key])
        return flat.view(entry.numpy_dtype).reshape(entry.shape)
