"""ContainerRetriever: fetches a dict or a list from another party, entry by entry."""

from __future__ import annotations

import struct
from typing import Any

import flare_fobs
from flare_core import Stream
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.streamers.object_retriever import ObjectRetriever
from nvflare.app_common.streamers.transfer import pieces


class ContainerRetriever(ObjectRetriever):
    """Fetches a dict or a list from another party; neither party has more than one entry of it in another form.

    Args:
        topic: tells it from others.
        stream_msg_optional, stream_msg_secure, entry_timeout: ignored.
    """

    def __init__(
        self,
        topic: str | None = None,
        stream_msg_optional: bool = False,
        stream_msg_secure: bool = False,
        entry_timeout: float | None = None,
    ) -> None:
        super().__init__(topic)
        self.stream_msg_optional = stream_msg_optional
        self.stream_msg_secure = stream_msg_secure
        self.entry_timeout = entry_timeout
        self.containers: dict[str, Any] = {}

    def add_container(self, name: str, container: Any) -> None:
        """Offer a dict or a list to other parties."""
        self.containers[name] = container

    def retrieve_container(self, from_site: str, fl_ctx: FLContext, timeout: float, name: str) -> tuple[str, Any]:
        """Return a return code, and the container.

        Args:
            from_site: the party that has it.
            fl_ctx: the context.
            timeout: seconds that it may take.
            name: its name.
        """
        return self.retrieve(from_site, fl_ctx, timeout, name=name)

    def find(self, wanted: dict[str, Any]) -> Any:
        return self.containers[wanted["name"]]

    def provide(self, stream: Stream, found: Any) -> None:
        is_dict = isinstance(found, dict)
        _send(stream, is_dict)
        for entry in found.items() if is_dict else found:
            _send(stream, list(entry) if is_dict else entry)

    def take(self, stream: Stream, first: bytes, wanted: dict[str, Any], fl_ctx: FLContext) -> Any:
        data, entries = bytearray(), []
        for piece in pieces(stream, first):
            data += piece
            while len(data) >= 8 and len(data) >= 8 + (size := struct.unpack_from("<Q", data)[0]):
                entries.append(flare_fobs.loads(bytes(data[8 : 8 + size])))
                del data[: 8 + size]
        is_dict, *rest = entries
        return {key: value for key, value in rest} if is_dict else rest


def _send(stream: Stream, value: Any) -> None:
    data = flare_fobs.dumps(value)
    stream.write(struct.pack("<Q", len(data)))
    stream.write(data)
