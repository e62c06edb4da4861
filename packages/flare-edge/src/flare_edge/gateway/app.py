"""The application that devices reach by HTTP; :mod:`flare_edge.protocol` describes it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from flare_edge.errors import EdgeError
from flare_edge.gateway.bodies import Bodies
from flare_edge.gateway.limits import Rate
from flare_edge.gateway.pages import pages
from flare_edge.gateway.presence import Wake
from flare_edge.gateway.registry import Registry
from flare_edge.gateway.results import Over, Refused, Result, json_result, parsed, train_result, update_dtype
from flare_edge.messages import Order
from flare_edge.protocol import MAX_CONFIG_BYTES, MAX_JSON_BYTES, SAFETENSORS, openapi

if TYPE_CHECKING:
    from flare_edge.gateway.gateway import Gateway
    from flare_edge.gateway.models import Model

log = logging.getLogger(__name__)

_SMALL = 1 << 18  # larger results are checked beside the event loop
_CHUNK = 1 << 16
_JSON_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Front:
    """The routes of ``/v1``; lives on one event loop.

    Args:
        gateway: which is asked and told.
        registry: of devices and invitations; used by the event loop's thread alone.
    """

    def __init__(self, gateway: Gateway, registry: Registry) -> None:
        self.gateway = gateway
        self.registry = registry
        limits = gateway.settings.limits
        self.bodies = Bodies(limits)
        self._requests = Rate(limits.requests_per_s)
        self._refusals = Rate(limits.refusals_per_s)
        self._registrations = Rate(limits.registrations_per_s)
        config = json.dumps(gateway.config, separators=(",", ":"))
        self._untold: set[str] = set()  # devices that have polled, and were not told that the run is over
        self._told = threading.Event()
        self._config = f',"config":{config}' if len(config) <= MAX_CONFIG_BYTES else ""

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/tasks", self.tasks, methods=["POST"]),
            Route("/v1/results/{ticket}", self.result, methods=["POST"]),
            Route("/v1/models/{version}", self.model, methods=["GET"]),
            Route("/v1/job", self.job, methods=["GET"]),
            Route("/v1/devices", self.register, methods=["POST"]),
            Route("/v1/devices/me", self.leave, methods=["DELETE"]),
            Route("/v1/openapi.json", self.openapi, methods=["GET"]),
        ]

    async def register(self, request: Request) -> Response:
        """Exchange an invitation for a device id and a token.

        Raises:
            Refused: the invitation or the name is not valid, or the address registers too often.
        """
        address = _address(request)
        if wait := self._registrations.take(address):
            raise Refused(429, "rate", "too many registrations from this address", retry_after_s=wait, closes=True)
        values = parsed(await self.bodies.read(request, MAX_JSON_BYTES))
        invitation, name, secret = (values.get(key) for key in ("invitation", "name", "request"))
        if values.keys() - {"invitation", "name", "request"} or not isinstance(invitation, str):
            raise Refused(422, "fields", "give invitation, and optionally name and request")
        if name is not None and not isinstance(name, str):
            raise Refused(422, "name", "name must be a string")
        if secret is not None and not (isinstance(secret, str) and 16 <= len(secret) <= 128):
            raise Refused(422, "request", "request must be a string of 16 to 128 characters")
        try:
            device, token = self.registry.register(invitation, name, secret)
        except Refused:
            self._count_refusal(address)
            raise
        self.gateway.counts["registrations"] += 1
        reply = {"device": f"{self.gateway.name}/{device}", "token": token, "job": self.gateway.job}
        return as_json(reply, 201)

    async def job(self, request: Request) -> Response:
        """Describe the job to a device."""
        self.device(request)
        return as_json(self.gateway.job)

    async def tasks(self, request: Request) -> Response:
        """Hand out the device's order, or wait for one.

        Raises:
            Refused: the device is not known, asks for nonsense or too often, or the run is over.
        """
        device = self.device(request)
        values = parsed(await self.bodies.read(request, MAX_JSON_BYTES, device))
        wait_s = values.get("wait_s", 0)
        if values.keys() - {"wait_s"} or isinstance(wait_s, bool) or not isinstance(wait_s, int | float):
            raise Refused(422, "fields", "give wait_s, a number of seconds")
        if not 0 <= wait_s < math.inf:
            raise Refused(422, "fields", "wait_s must not be negative")
        order = await self.order(device, min(wait_s, self.gateway.settings.limits.max_wait_s))
        self.gateway.counts["check_ins"] += 1
        if order is None:
            return Response(status_code=204, headers=_JSON_HEADERS)
        text = (
            f'{{"ticket":{order.ticket},"kind":"{order.kind}","version":{order.version},'
            f'"model":"/v1/models/{order.version}","answer_within_s":{json.dumps(self.gateway.answer_within_s)}'
            f"{self._config}}}"
        )
        return Response(text, media_type="application/json", headers=_JSON_HEADERS)

    async def order(self, device: str, wait_s: float) -> Order | None:
        """Return a device's order; wait for one until ``wait_s`` is over, or another poll of the device comes."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            loop.call_soon_threadsafe(_resolve, woken)

        order = self._poll(device, wake if wait_s else None)
        if order is not None or not wait_s:
            return order
        timer = loop.call_later(wait_s, _resolve, woken)
        try:
            await woken
        finally:
            timer.cancel()
            self.gateway.stop_waiting(device, wake)
        self._let_revoked_go()
        if not self.registry.has(device.rpartition("/")[2]):
            raise _unknown_token()  # it has left, or was revoked, in the meantime
        return self._poll(device)

    def _poll(self, device: str, wake: Wake | None = None) -> Order | None:
        self._untold.add(device)
        try:
            return self.gateway.poll(device, wake)
        except Over:
            self._untold.discard(device)
            self._told.set()
            raise

    def farewell(self, timeout_s: float) -> None:
        """Wait until the devices that are there have been told that the run is over; they may be in mid-task.

        Called on another thread than that of the requests, after the run is over.

        Args:
            timeout_s: how long to wait for them.
        """
        until = time.monotonic() + timeout_s
        here = set(self.gateway.devices())
        while here & self._untold and (left := until - time.monotonic()) > 0:
            self._told.wait(left)
            self._told.clear()

    async def model(self, request: Request) -> Response:
        """Send a version of the model."""
        self.device(request)
        model = self.gateway.model(_number(request.path_params["version"], "unknown_version"))
        headers = {"etag": model.etag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == model.etag:
            return Response(status_code=304, headers=headers)
        return _ModelResponse(model, headers)

    async def result(self, request: Request) -> Response:
        """Accept a result, once it is on disk.

        Raises:
            Refused: the device is not known, the ticket not its own, or the result does not fit.
        """
        device = self.device(request)
        ticket = _number(request.path_params["ticket"], "unknown_ticket")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        like = self.gateway.like
        if not like:  # after a restart, the orders are not known again before the model is
            raise Refused(503, "not_ready", "the gateway has no model yet", retry_after_s=2, closes=True)
        if kind == "application/json":
            body = await self.bodies.read(request, MAX_JSON_BYTES, device)
            await self.report(device, ticket, lambda: json_result(body))
        elif kind == SAFETENSORS:
            size = sum(value.size * update_dtype(value).itemsize + 256 for value in like.values())
            body = await self.bodies.read(request, size + MAX_JSON_BYTES, device)
            work = self.report(
                device, ticket, lambda: train_result(body, like, self.gateway.scale), large=len(body) > _SMALL
            )
            await work
        else:
            raise Refused(
                415, "content_type", f"the content type must be {SAFETENSORS} or application/json", closes=True
            )
        return as_json({"ticket": ticket, "accepted": True})

    async def report(self, device: str, ticket: int, check: Callable[[], Result], *, large: bool = False) -> None:
        """Check a result and report it to the gateway; return when it is on disk."""
        self.gateway.order(device, ticket)  # a result that is not wanted needs no check

        def work() -> Any:
            return self.gateway.report(device, ticket, check())

        loop = asyncio.get_running_loop()
        await asyncio.wrap_future(await loop.run_in_executor(None, work) if large else work())

    async def leave(self, request: Request) -> Response:
        """Let a device go; its token is not valid any more."""
        device = self.device(request)
        self.registry.revoke(device.rpartition("/")[2])
        self.gateway.leave(device)
        return Response(status_code=204, headers=_JSON_HEADERS)

    async def openapi(self, request: Request) -> Response:
        """Describe this protocol."""
        return as_json(openapi())

    def device(self, request: Request) -> str:
        """Return the id of the device that sends a request.

        Raises:
            Refused: its token is not known, or it asks too often.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self.device_of(token.strip() if scheme.lower() == "bearer" else "", request)

    def device_of(self, token: str, request: Request) -> str:
        """Return the id of the device with a token.

        Raises:
            Refused: see :meth:`device`.
        """
        self._let_revoked_go()
        device = self.registry.device(token)
        if device is None:
            self._count_refusal(_address(request))
            raise _unknown_token()
        if wait := self._requests.take(device):
            raise Refused(429, "rate", "too many requests of this device", retry_after_s=wait)
        return f"{self.gateway.name}/{device}"

    def _let_revoked_go(self) -> None:
        for revoked in self.registry.refresh():
            self.gateway.leave(f"{self.gateway.name}/{revoked}")

    def _count_refusal(self, address: str) -> None:
        if wait := self._refusals.take(address):
            raise Refused(429, "rate", "too many refused requests from this address", retry_after_s=wait, closes=True)


def make_app(front: Front, more_routes: list[Route]) -> Starlette:
    """Return the application; errors are JSON, and refusals are counted."""

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        front.gateway.counts[f"refused.{error.code}"] += 1
        headers = dict(_JSON_HEADERS)
        if error.retry_after_s is not None:
            headers["retry-after"] = str(math.ceil(error.retry_after_s))
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        if error.closes:
            headers["connection"] = "close"
        return as_json({"error": error.code, "message": str(error)}, error.status, headers)

    def unavailable(request: Request, error: Exception) -> Response:
        log.error("%s %s: %s", request.method, request.url.path, error)
        return refused(request, Refused(503, "unavailable", "the gateway cannot do this now", retry_after_s=5))

    def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method"}.get(error.status_code, "http")
        response = refused(request, Refused(error.status_code, code, error.detail, closes=_has_body(request)))
        response.headers.update(error.headers or {})
        return response

    app = Starlette(
        routes=[*front.routes(), *more_routes, *pages()],
        exception_handlers={Refused: refused, EdgeError: unavailable, HTTPException: unknown},
    )
    app.router.redirect_slashes = False
    return app


class _ModelResponse(Response):
    """Sends a model piece by piece: a slow reader holds one piece in memory, not a copy of the model."""

    def __init__(self, model: Model, headers: dict[str, str]) -> None:
        super().__init__(headers={**headers, "content-length": str(len(model.content))}, media_type=SAFETENSORS)
        self._content = memoryview(model.content)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        pieces = range(0, len(self._content), _CHUNK) if scope["method"] == "GET" else ()
        for start in pieces:
            body = bytes(self._content[start : start + _CHUNK])
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


Handler = Callable[[Request], Awaitable[Response]]


def as_json(values: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response of JSON."""
    return Response(json.dumps(values), status, headers or _JSON_HEADERS, "application/json")


def _unknown_token() -> Refused:
    return Refused(401, "token", "the device's token is not known here: join with an invitation", closes=True)


def _number(text: str, code: str) -> int:
    """Return a number of a path; what is none is unknown."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        raise Refused(404, code, "there is no such number", closes=True)
    return int(text)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
