"""FileStreamer: sends files to other parties."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_core import Stream
from flare_core.errors import PartyError
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.streamers.transfer import code_of, send_file, take_file

_NAME, _SIZE, _PLACE = "FileStreamer.file_name", "FileStreamer.size", "FileStreamer.file_location"


class FileStreamer:
    """Sends files to other parties."""

    @staticmethod
    def register_stream_processing(
        fl_ctx: FLContext,
        channel: str,
        topic: str,
        dest_dir: str | None = None,
        stream_done_cb: Callable[..., None] | None = None,
        chunk_consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        """Take files of a topic from other parties.

        Args:
            fl_ctx: the context.
            channel, topic: tell the files from others.
            dest_dir: the folder for them.
            stream_done_cb: called with the stream's context and an FLContext for each.
            chunk_consumed_cb: ignored.
            cb_kwargs: given to the callback.

        Raises:
            ValueError: ``dest_dir`` is no folder.
        """
        if dest_dir and not Path(dest_dir).is_dir():
            raise ValueError(f"dest_dir {dest_dir!r} is no folder")
        engine = fl_ctx.get_engine()

        def take(stream: Stream) -> None:
            context = dict(stream.meta)
            with tempfile.NamedTemporaryFile(dir=dest_dir, delete=False) as file:
                take_file(stream, b"", file)
            context[_PLACE] = file.name
            if stream_done_cb is not None:
                stream_done_cb(context, engine.new_context(), **cb_kwargs)

        engine.endpoint.handle_stream(f"nvflare.file.{channel}.{topic}", take)

    @staticmethod
    def stream_file(
        channel: str,
        topic: str,
        stream_ctx: dict[str, Any],
        targets: list[str],
        file_name: str,
        fl_ctx: FLContext,
        chunk_size: int | None = None,
        chunk_timeout: float | None = None,
        optional: bool = False,
        secure: bool = False,
    ) -> tuple[str, Any]:
        """Send a file to other parties, and return a return code and nothing else.

        Args:
            channel, topic: as those of :meth:`register_stream_processing` there.
            stream_ctx: values for the callback there.
            targets: the parties.
            file_name: the path of the file.
            fl_ctx: the context.
            chunk_size, chunk_timeout, optional, secure: ignored.
        Raises:
            ValueError: there is no such file.
        """
        path = Path(file_name)
        if not path.is_file():
            raise ValueError(f"there is no file {file_name!r}")
        meta = {**(stream_ctx or {}), _NAME: path.name, _SIZE: path.stat().st_size}
        for target in targets:
            try:
                with fl_ctx.get_engine().endpoint.open_stream(
                    target, f"nvflare.file.{channel}.{topic}", meta
                ) as stream:
                    send_file(stream, path)
                    stream.close_write()
                    while stream.read():  # until the other party has handled it
                        pass
            except (PartyError, TimeoutError) as error:
                return code_of(error), None
        return ReturnCode.OK, None

    @staticmethod
    def get_file_name(stream_ctx: dict[str, Any]) -> Any:
        """Return the file's name at the sender."""
        return stream_ctx.get(_NAME)

    @staticmethod
    def get_file_location(stream_ctx: dict[str, Any]) -> Any:
        """Return the path of the file here."""
        return stream_ctx.get(_PLACE)

    @staticmethod
    def get_file_size(stream_ctx: dict[str, Any]) -> Any:
        """Return the size of the file in bytes."""
        return stream_ctx.get(_SIZE)
