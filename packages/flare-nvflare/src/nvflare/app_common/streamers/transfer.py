"""Objects that one party fetches from another, or sends it, as a stream of bytes.

provider -> asker   a line with the return code, then the object
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from flare_core import Stream
from flare_core.errors import PartyError
from nvflare.apis.fl_constant import ReturnCode

CHUNK = 1 << 20


def read_line(stream: Stream) -> tuple[dict[str, Any], bytes]:
    """Return the first line of a stream, which is JSON, and what was read beyond it.

    Raises:
        PartyError: the stream ended before.
    """
    data = b""
    while b"\n" not in data:
        piece = stream.read()
        if not piece:
            raise PartyError(f"{stream.peer} ended the stream early", party=stream.peer)
        data += piece
    line, _, rest = data.partition(b"\n")
    content: dict[str, Any] = json.loads(line)
    return content, rest


def pieces(stream: Stream, first: bytes) -> Iterator[bytes]:
    """Yield the bytes of a stream after those that were read already."""
    if first:
        yield first
    while data := stream.read():
        yield data


def write_head(stream: Stream, **content: Any) -> None:
    """Write the first line of a stream."""
    stream.write(json.dumps(content).encode() + b"\n")


def send_file(stream: Stream, path: Path) -> None:
    """Write the content of a file."""
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            stream.write(data)


def take_file(stream: Stream, first: bytes, file: IO[bytes]) -> int:
    """Write the rest of a stream to a file, and return the number of bytes."""
    size = 0
    for data in pieces(stream, first):
        size += len(data)
        file.write(data)
    return size


def within(seconds: float | None, stream: Stream, work: Callable[[], Any]) -> Any:
    """Do something with a stream, which is aborted after so many seconds.

    Raises:
        TimeoutError: it took longer.
    """
    late = threading.Event()

    def stop() -> None:
        late.set()
        stream.abort(f"it took longer than {seconds} s")

    timer = threading.Timer(seconds, stop) if seconds else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        return work()
    except PartyError as error:
        if late.is_set():
            raise TimeoutError(str(error)) from error
        raise
    finally:
        if timer is not None:
            timer.cancel()


def code_of(error: BaseException) -> str:
    """Return the return code for an error of a stream."""
    return ReturnCode.TIMEOUT if isinstance(error, TimeoutError) else ReturnCode.COMMUNICATION_ERROR
