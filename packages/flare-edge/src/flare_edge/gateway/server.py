"""Serving a gateway's devices: uvicorn with TLS, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from flare_edge.browser.qr import svg
from flare_edge.errors import EdgeError
from flare_edge.event_loop import new_event_loop
from flare_edge.gateway.app import Front, make_app
from flare_edge.gateway.certificate import fingerprint, make_certificate, tls_context
from flare_edge.gateway.connection import Admission, Connection
from flare_edge.gateway.link import join_link, write_address
from flare_edge.gateway.nvflare import NVFlareFront
from flare_edge.gateway.registry import Registry
from flare_edge.gateway.settings import REGISTRY, GatewaySettings, Limits

if TYPE_CHECKING:
    from flare_edge.gateway.gateway import Gateway

log = logging.getLogger(__name__)

LINK_FILE = "join-link.txt"
_BACKLOG = 4096
_FAREWELL_S = 3.0  # for devices in mid-task to learn that the run is over
_CLOSE_S = 3
_OTHER_FILES = 500  # of the process
_TLS_CLOSE_S = 1  # until a device that is gone is not waited for


class Server:
    """Serves devices from its creation until :meth:`close`.

    Attributes:
        url: where, without a slash at the end.
        join_link: the URL of the page with what a device needs to join.
    """

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.settings
        self._gateway = gateway
        self._socket = _listen(settings)
        try:
            registry_path = settings.registry or gateway.folder / REGISTRY
            self._registry = Registry(registry_path, max_devices=settings.limits.devices)
            host, port = self._socket.getsockname()[:2]
            if host in ("0.0.0.0", "::"):
                host = socket.gethostname()
            shown = f"[{host}]" if ":" in host else host
            self._tls, digest = _tls(gateway.folder, settings, host)
            scheme = "http" if self._tls is None else "https"
            self.url = (settings.public_url or f"{scheme}://{shown}:{port}").rstrip("/")
            self.join_link = self._make_link(gateway, registry_path, digest)
            self._started: Future[None] = Future()
            self._thread = threading.Thread(target=self._run, args=(gateway,), name="edge-gateway", daemon=True)
            self._thread.start()
            self._started.result()
        except BaseException:
            self._socket.close()
            raise
        log.info(
            "the gateway %s serves devices at %s, certificate SHA-256 %s", gateway.name, self.url, digest or "none"
        )

    def close(self) -> None:
        """Answer what is being asked, close all connections, and end the thread; after a run, devices learn of that."""
        if self._gateway.is_over:
            self._front.farewell(_FAREWELL_S)
        self._uvicorn.should_exit = True
        self._thread.join()
        self._registry.close()

    def _make_link(self, gateway: Gateway, registry: Path, digest: str) -> str:
        """Write down for ``flare edge invite`` where devices connect to; return the link with an open invitation."""
        write_address(registry.parent, self.url, digest)
        if gateway.settings.invitations == "listed":
            return f"{self.url}/"
        note = f"open: a run at {gateway.name}"
        self._registry.revoke_noted(note)  # that of the last run
        link = join_link(self.url, self._registry.invite(note=note, uses=None), digest)
        path = gateway.folder / LINK_FILE
        for each, content in ((path, link + "\n"), (path.with_suffix(".svg"), svg(link))):
            descriptor = os.open(each, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(content)
        log.info("devices join the gateway %s by the link in %s", gateway.name, path)
        return link

    def _run(self, gateway: Gateway) -> None:
        """Serve, on the thread."""
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._serve(gateway))
        except BaseException as error:
            if self._started.done():
                log.exception("the gateway's web server failed")
            else:
                self._started.set_exception(error)

    async def _serve(self, gateway: Gateway) -> None:
        limits = gateway.settings.limits
        front = self._front = Front(gateway, self._registry)
        more = NVFlareFront(front).routes() if gateway.settings.nvflare_routes else []
        config = uvicorn.Config(
            make_app(front, more),
            log_config=None,
            access_log=False,
            log_level="warning",
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,  # anyone could claim an address
            backlog=_BACKLOG,
            timeout_keep_alive=max(1, round(limits.idle_timeout_s)),
            timeout_graceful_shutdown=_CLOSE_S,
            h11_max_incomplete_event_size=1 << 14,
        )
        admission = Admission(_possible(limits), gateway.counts)
        self._uvicorn = _Uvicorn(config, admission, self._tls, lambda: self._started.set_result(None))
        await self._uvicorn.serve(sockets=[self._socket])


class _Uvicorn(uvicorn.Server):
    """uvicorn's server with connections of our own."""

    def __init__(
        self, config: uvicorn.Config, admission: Admission, tls: Any, when_started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._admission = admission
        self._tls = tls
        self._when_started = when_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(self.config, self.server_state, {}, loop, self._admission)

        has_tls = self._tls is not None
        self.servers = [
            await loop.create_server(
                connection,
                sock=each,
                ssl=self._tls,
                backlog=_BACKLOG,
                ssl_handshake_timeout=self._admission.limits.head_timeout_s if has_tls else None,
                ssl_shutdown_timeout=_TLS_CLOSE_S if has_tls else None,
            )
            for each in sockets or []
        ]
        self.started = True
        self._when_started()


def _listen(settings: GatewaySettings) -> socket.socket:
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise EdgeError(
            f"the gateway cannot listen at {settings.listen} ({error}); change 'listen' in edge.json"
        ) from error


def _tls(folder: Path, settings: GatewaySettings, host: str) -> tuple[Any, str]:
    """Return the TLS context and the certificate's SHA-256; nothing for plain HTTP."""
    if settings.plain_http:
        return None, ""
    if settings.certificate is not None and settings.key is not None:
        certificate, key = settings.certificate, settings.key
    else:
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = make_certificate(folder, sorted({host, "127.0.0.1", "localhost", *_public_name(settings)}))
    return tls_context(certificate, key), fingerprint(certificate)


def _possible(limits: Limits) -> Limits:
    """Return the limits with as many connections as this process can have files, after asking for more of those."""
    if sys.platform == "win32":
        return limits
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    possible = max(1, wanted - _OTHER_FILES)
    if possible < limits.connections:
        log.warning("%s connections of devices are possible: raise 'ulimit -n' above %s for more", possible, hard)
    return limits.model_copy(update={"connections": min(limits.connections, possible)})


def _public_name(settings: GatewaySettings) -> list[str]:
    if settings.public_url is None:
        return []
    from urllib.parse import urlsplit

    return [urlsplit(settings.public_url).hostname or "localhost"]
