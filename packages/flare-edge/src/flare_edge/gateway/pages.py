"""The page of devices with a browser, and its files: read once, and sent from memory."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def pages() -> list[Route]:
    """Return the routes of the files in ``flare_edge/browser/static``: all below /static, and ``/`` for index.html."""
    root = files("flare_edge").joinpath("browser", "static")
    found = dict(_found(root, "")) if root.is_dir() else {}
    routes = [_route(f"/static/{name}", name, content) for name, content in found.items()]
    if "index.html" in found:
        routes.append(_route("/", "index.html", found["index.html"]))
    return routes


def _found(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    entries: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            entries += _found(entry, f"{prefix}{entry.name}/")
        elif any(entry.name.endswith(suffix) for suffix in TYPES):
            entries.append((prefix + entry.name, entry.read_bytes()))
    return entries


def _route(path: str, name: str, content: bytes) -> Route:
    headers = {**_HEADERS, "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    media_type = TYPES["." + name.rpartition(".")[2]]

    async def page(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return Route(path, page, methods=["GET"])
