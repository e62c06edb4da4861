"""A gateway whose link is known before it runs, and lasts: for a QR code on paper, or devices that are set up first."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from flare_edge.errors import EdgeError
from flare_edge.gateway.certificate import fingerprint, make_certificate
from flare_edge.gateway.link import join_link, write_address
from flare_edge.gateway.registry import Registry
from flare_edge.gateway.settings import FILE, REGISTRY, GatewaySettings


def prepare_gateway(
    local: Path, *, listen: str = "127.0.0.1:8443", public_url: str | None = None, uses: int | None = None
) -> str:
    """Write the settings, a self-signed certificate and an invitation for a site's gateway; return the join link.

    Args:
        local: the site's folder of settings: ``<workspace>/local/<site>`` of ``SimEnv`` and ``PocEnv``.
        listen: host and port, which must be free when a run starts.
        public_url: how devices reach the gateway, if not at ``listen``.
        uses: how many devices can join with the link; None: any number.

    Raises:
        EdgeError: the folder has settings of a gateway already, or ``listen`` or ``public_url`` is not valid.
    """
    path = local / FILE
    if path.exists():
        raise EdgeError(f"{path} exists; its gateway keeps its certificate: make another link with 'flare edge invite'")
    values = {"listen": listen, "certificate": "certificate.pem", "key": "key.pem", "invitations": "listed"}
    if public_url is not None:
        values["public_url"] = public_url
    settings = _checked(values)
    local.mkdir(parents=True, exist_ok=True)
    url = (settings.public_url or f"https://{listen}").rstrip("/")
    host = urlsplit(url).hostname or settings.host
    certificate, _ = make_certificate(local, sorted({settings.host, host, "127.0.0.1", "localhost"}))
    registry = Registry(local / REGISTRY)
    try:
        invitation = registry.invite(note="prepared", uses=uses)
    finally:
        registry.close()
    path.write_text(json.dumps(values, indent=2) + "\n")
    write_address(local, url, fingerprint(certificate))  # for 'flare edge invite'
    return join_link(url, invitation, fingerprint(certificate))


def _checked(values: dict[str, str]) -> GatewaySettings:
    try:
        settings = GatewaySettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the settings"
        raise EdgeError(f"a gateway cannot be prepared: {place} {first['input']!r}: {first['msg']}") from error
    if settings.port == 0:
        raise EdgeError(f"listen is {values['listen']!r}; a lasting link needs a port: give one that is free")
    return settings
