"""The journal of a gateway: what was promised to devices and is not yet acknowledged by the gateway's parent.

It consists of files ``results-<number>.journal`` and of ``acknowledged.json``. A journal file is a sequence of records:
the payload's length and its CRC-32, both as little-endian u32, then the payload: the length of a JSON header as u32,
the header, and a body. Headers:

- ``{"kind": "result", "ticket", "device", "digest", "order", "version", "weight", "metrics", "reason"}``: a result for
  an
  order of the kind ``train`` or ``evaluate``; the body is the update as the device sent it;
- ``{"kind": "failed", …}`` with the same keys: the device reported an error, with that reason;
- ``{"kind": "batch", "number", "done": [tickets], "failed": {ticket: reason}, "devices": {device: ticket}}``: the batch
  with that number, and whose tickets have failed; it is the last record of its file.

A record counts once it is synced to disk; many are synced at once. A record that was not written to its end, at the end
of the last file, was promised to nobody and is cut off. A file is deleted when all its results are in acknowledged
batches, of which ``acknowledged.json`` has the last number, together with the last result of each device.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flare_edge.errors import EdgeError

log = logging.getLogger(__name__)

_FRAME = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
_MAX_AT_ONCE = 64 << 20
ACKNOWLEDGED = "acknowledged.json"


@dataclass(frozen=True)
class Record:
    """One record, see the module."""

    header: Mapping[str, Any]
    body: bytes = b""


@dataclass
class _File:
    path: Path
    tickets: set[int] = field(default_factory=set)  # results in here that no acknowledged batch has
    batch: int | None = None


class Journal:
    """A folder of journal files, written by a thread of its own; all methods can be called from any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.acknowledged, self.last_results = _read_acknowledged(folder / ACKNOWLEDGED)
        self._files: list[_File] = []
        self._batches: dict[int, list[int]] = {}
        self._queue: queue.SimpleQueue[_Append | Callable[[], None] | None] = queue.SimpleQueue()
        self._stream: int | None = None
        self._written = 0
        self.broken: OSError | None = None  # why nothing can be written any more
        self._thread = threading.Thread(target=self._write, name="edge-journal", daemon=True)

    def replay(self) -> Iterator[Record]:
        """Yield the records that are on disk, in their order, then be ready for more; to be called once, first.

        Raises:
            EdgeError: a file is damaged at another place than the end of the last one.
        """
        paths = sorted(self._folder.glob("results-*.journal"))
        for path in paths:
            file = _File(path)
            self._files.append(file)
            for record in _records(path, is_last=path == paths[-1]):
                self._note(file, record.header)
                yield record
        self._drop_files()
        self._thread.start()

    def append(self, record: Record, done: Callable[[OSError | None], None]) -> None:
        """Write a record; ``done`` is called on the journal's thread when it is on disk, or with the error."""
        self._queue.put(_Append(_encoded(record), record.header, done))

    def append_batch(self, number: int, done: list[int], failed: Mapping[int, str], devices: Mapping[str, int]) -> None:
        """Write down what a batch consists of, and wait until that is on disk.

        Raises:
            OSError: it cannot be written.
        """
        failed_as_text = {str(ticket): reason for ticket, reason in failed.items()}
        record = Record({"kind": "batch", "number": number, "done": done, "failed": failed_as_text, "devices": devices})
        written: Future[None] = Future()
        self.append(record, lambda error: written.set_exception(error) if error else written.set_result(None))
        written.result()

    def forget(self, number: int, last_results: Mapping[str, tuple[int, str]]) -> None:
        """Delete what batches up to ``number`` hold, after writing down that they are acknowledged."""

        def forget() -> None:
            try:
                _write_acknowledged(self._folder / ACKNOWLEDGED, number, last_results)
            except OSError as error:  # the batches are sent again after a restart, and dropped by the parent
                log.warning("the journal cannot note that batch %s is acknowledged: %s", number, error)
                return
            self.acknowledged = number
            self._drop_files()

        self._queue.put(forget)

    def close(self) -> None:
        """Write what is waiting, and end the thread."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    # The rest runs on the journal's thread.

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            waiting: list[_Append] = []
            size = 0
            after: Callable[[], None] | None = None
            while True:
                if isinstance(item, _Append):
                    waiting.append(item)
                    size += len(item.content)
                    if size > _MAX_AT_ONCE or item.header["kind"] == "batch":
                        break
                elif item is not None:
                    after = item
                    break
                else:
                    self._queue.put(None)
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if waiting:
                self._append_all(waiting)
            if after is not None:
                after()
        self._close_file()

    def _append_all(self, waiting: list[_Append]) -> None:
        error = self.broken or self._try_append(b"".join(each.content for each in waiting))
        if error is None:
            for each in waiting:
                self._note(self._files[-1], each.header)
            if waiting[-1].header["kind"] == "batch":
                self._close_file()  # the next record begins a file
        for each in waiting:
            each.done(error)

    def _try_append(self, content: bytes) -> OSError | None:
        try:
            stream = self._open_file()
            view = memoryview(content)
            while view:
                view = view[os.write(stream, view) :]
            os.fsync(stream)
        except OSError as error:
            log.error("cannot write to the journal %s: %s", self._folder, error)
            self._undo(error)
            return error
        self._written += len(content)
        return None

    def _undo(self, error: OSError) -> None:
        """Cut off what was written in part; without room on the disk, writing goes on when there is some again."""
        try:
            if self._stream is not None:
                os.ftruncate(self._stream, self._written)
        except OSError as again:
            self.broken = again
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            self.broken = error  # after a failed fsync nobody knows what is on the disk

    def _open_file(self) -> int:
        if self._stream is None:
            number = 1 + max((int(file.path.stem.removeprefix("results-")) for file in self._files), default=0)
            path = self._folder / f"results-{number:08d}.journal"
            self._stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self._written = 0
            self._files.append(_File(path))
            _sync_folder(self._folder)
        return self._stream

    def _close_file(self) -> None:
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def _note(self, file: _File, header: Mapping[str, Any]) -> None:
        if header["kind"] == "batch":
            file.batch = header["number"]
            self._batches[header["number"]] = [*header["done"], *(int(ticket) for ticket in header["failed"])]
        else:
            file.tickets.add(header["ticket"])

    def _drop_files(self) -> None:
        for number in [number for number in self._batches if number <= self.acknowledged]:
            tickets = self._batches.pop(number)
            for file in self._files:
                file.tickets.difference_update(tickets)
        for file in list(self._files):
            is_open = self._stream is not None and file is self._files[-1]
            if not is_open and not file.tickets and (file.batch or 0) <= self.acknowledged:
                file.path.unlink(missing_ok=True)
                self._files.remove(file)


@dataclass(frozen=True)
class _Append:
    content: bytes
    header: Mapping[str, Any]
    done: Callable[[OSError | None], None]


def _encoded(record: Record) -> bytes:
    header = json.dumps(record.header, separators=(",", ":")).encode()
    payload = b"".join([_LENGTH.pack(len(header)), header, record.body])
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _records(path: Path, *, is_last: bool) -> Iterator[Record]:
    """Yield the records of a file; cut an incomplete one off at the end of the last file."""
    size = path.stat().st_size
    with path.open("r+b") as stream:
        position = 0
        while position < size:
            record = _read_record(stream.read(_FRAME.size), stream, size - position)
            if record is None:
                if not is_last:
                    raise EdgeError(f"{path} is damaged at byte {position} of {size}: restore it from a backup")
                log.warning(
                    "%s: the last %s bytes were not written to their end, and are dropped", path, size - position
                )
                stream.truncate(position)
                os.fsync(stream.fileno())
                return
            yield record
            position = stream.tell()


def _read_record(frame: bytes, stream: Any, left: int) -> Record | None:
    if len(frame) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(frame)
    if length < _LENGTH.size or length > left - _FRAME.size:
        return None
    payload = stream.read(length)
    if zlib.crc32(payload) != checksum:
        return None
    (header_length,) = _LENGTH.unpack_from(payload)
    end = _LENGTH.size + header_length
    return Record(json.loads(payload[_LENGTH.size : end]), payload[end:])


def _read_acknowledged(path: Path) -> tuple[int, dict[str, tuple[int, str]]]:
    try:
        values = json.loads(path.read_text())
        return int(values["number"]), {name: (pair[0], pair[1]) for name, pair in values["last_results"].items()}
    except FileNotFoundError:
        return 0, {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EdgeError(f"{path} is damaged ({error}): restore it from a backup") from error


def _write_acknowledged(path: Path, number: int, last_results: Mapping[str, tuple[int, str]]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as stream:
        json.dump({"number": number, "last_results": last_results}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
