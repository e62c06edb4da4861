"""Receiving bodies of requests: bounded in size, in time, and in all."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.requests import Request

from flare_edge.gateway.results import Refused
from flare_edge.gateway.settings import Limits

_AT_ONCE = 4  # of a device: one, and others whose connections broke unnoticed


class Bodies:
    """Reads bodies on one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._in_flight = 0
        self._by_device: Counter[str] = Counter()

    async def read(self, request: Request, limit: int, device: str = "") -> bytes:
        """Return the body of a request.

        Args:
            request: of a device.
            limit: the largest number of bytes.
            device: its id; empty if it is not known.
        Raises:
            Refused: it is larger than ``limit``, slower than the limits allow, or too many are being received, of this
                device or in all.
        """
        length = None if "transfer-encoding" in request.headers else request.headers.get("content-length")
        expected = limit if length is None or len(length) > 18 else int(length)
        if length is not None and (len(length) > 18 or expected > limit):
            raise Refused(413, "too_large", f"the body has {length[:18]} bytes, at most {limit} are read", closes=True)
        if device and self._by_device[device] >= _AT_ONCE:
            raise Refused(429, "rate", "too many bodies of this device at once", retry_after_s=5, closes=True)
        if self._in_flight and self._in_flight + expected > self._limits.body_bytes_in_flight:
            raise Refused(503, "busy", "too many bodies are being received", retry_after_s=5, closes=True)
        self._in_flight += expected
        self._by_device[device] += 1
        try:
            async with asyncio.timeout(self._limits.head_timeout_s + expected / self._limits.min_bytes_per_s):
                return await self._received(request, limit)
        except TimeoutError as error:
            raise Refused(408, "slow", "the body came too slowly", closes=True) from error
        finally:
            self._in_flight -= expected
            self._by_device[device] -= 1
            if not self._by_device[device]:
                del self._by_device[device]

    async def _received(self, request: Request, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "disconnected", "the connection ended before the body did")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise Refused(413, "too_large", f"the body has more than {limit} bytes", closes=True)
            if not message.get("more_body", False):
                return b"".join(parts)
