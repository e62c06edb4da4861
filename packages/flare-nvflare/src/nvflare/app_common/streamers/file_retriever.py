"""FileRetriever: fetches files of another party."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from flare_core import Stream
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.streamers.object_retriever import ObjectRetriever
from nvflare.app_common.streamers.transfer import send_file, take_file


class FileRetriever(ObjectRetriever):
    """Fetches files of another party.

    Args:
        source_dir: the folder whose files others may have.
        topic: tells it from others.
        stream_msg_optional, stream_msg_secure, chunk_size, chunk_timeout: ignored.
        dest_dir: the folder for files that are fetched; the system's for temporary files if left out.

    Raises:
        ValueError: ``source_dir`` is not a folder.
    """

    def __init__(
        self,
        source_dir: str,
        topic: str | None = None,
        stream_msg_optional: bool = False,
        stream_msg_secure: bool = False,
        dest_dir: str | None = None,
        chunk_size: int | None = None,
        chunk_timeout: float | None = None,
    ) -> None:
        super().__init__(topic)
        self.source_dir = source_dir
        self.stream_msg_optional = stream_msg_optional
        self.stream_msg_secure = stream_msg_secure
        self.dest_dir = dest_dir
        self.chunk_size = chunk_size
        self.chunk_timeout = chunk_timeout

    def retrieve_file(self, from_site: str, fl_ctx: FLContext, timeout: float, file_name: str) -> tuple[str, Any]:
        """Return a return code, and the path of the fetched file.

        Args:
            from_site: the party that has it.
            fl_ctx: the context.
            timeout: seconds that it may take.
            file_name: its path in the folder of that party.
        """
        return self.retrieve(from_site, fl_ctx, timeout, file_name=file_name)

    def find(self, wanted: dict[str, Any]) -> Any:
        root = Path(self.source_dir).resolve()
        path = (root / str(wanted["file_name"])).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise ValueError(f"there is no file {wanted['file_name']!r}")
        return path

    def provide(self, stream: Stream, found: Any) -> None:
        send_file(stream, found)

    def take(self, stream: Stream, first: bytes, wanted: dict[str, Any], fl_ctx: FLContext) -> Any:
        with tempfile.NamedTemporaryFile(dir=self.dest_dir, delete=False) as file:
            take_file(stream, first, file)
        return file.name
