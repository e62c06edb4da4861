"""The commands ``flare edge prepare``, ``invite``, ``devices`` and ``revoke``: who may join the gateway of a site."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flare_edge.errors import EdgeError

_Local = Annotated[Path, typer.Option("--local", help="The site's folder of settings, 'local' in its kit.")]
_LOCAL = Path("local")


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``flare edge``."""
    app.command("prepare")(prepare)
    app.command("invite")(invite)
    app.command("devices")(devices)
    app.command("revoke")(revoke)


def prepare(
    local: _Local = _LOCAL,
    listen: Annotated[str, typer.Option(help="Host and port to listen at.")] = "127.0.0.1:8443",
    url: Annotated[str | None, typer.Option(help="How devices reach it, if not there.")] = None,
    uses: Annotated[int, typer.Option(help="How many devices can join with the link; 0: any number.", min=0)] = 0,
    qr: Annotated[bool, typer.Option("--qr", help="Print a QR code of the link, too.")] = False,
) -> None:
    """Write the settings, a certificate and an invitation for a gateway; print a link that lasts over restarts."""
    from flare_edge.gateway.prepare import prepare_gateway

    _show(prepare_gateway(local, listen=listen, public_url=url, uses=uses or None), qr=qr)


def invite(
    local: _Local = _LOCAL,
    uses: Annotated[int, typer.Option(help="How many devices can join with it; 0: any number.", min=0)] = 1,
    days: Annotated[float, typer.Option(help="How long it is valid; 0: until it is revoked.", min=0)] = 7.0,
    note: Annotated[str, typer.Option(help="What it is for, shown by 'flare edge devices'.")] = "",
    url: Annotated[str | None, typer.Option(help="Where devices reach the gateway, if it has not run yet.")] = None,
    qr: Annotated[bool, typer.Option("--qr", help="Print a QR code of the link, too.")] = False,
) -> None:
    """Make an invitation, and print the link by which devices join. It is shown only now."""
    from flare_edge.gateway.link import join_link, read_address
    from flare_edge.gateway.settings import GatewaySettings

    local.mkdir(parents=True, exist_ok=True)
    address, sha256 = read_address(local)
    address = url or GatewaySettings.read(local).public_url or address
    registry = _registry(local)
    token = registry.invite(note=note, uses=uses or None, valid_s=days * 86400 or None)
    registry.close()
    if address is None:
        sys.stdout.write(f"{token}\n")
        sys.stderr.write(f"no gateway has run with {local} yet: the link is its URL, then /#, then this invitation\n")
        return
    _show(join_link(address.rstrip("/"), token, sha256), qr=qr)


def devices(
    local: _Local = _LOCAL,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """List a site's invitations and devices."""
    registry = _registry(local)
    invitations, known = registry.invitations(), registry.devices()
    registry.close()
    if format_ == "json":
        found = {"invitations": [asdict(each) for each in invitations], "devices": [asdict(each) for each in known]}
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    from flare_runtime.terminal import printable

    for invitation in invitations:
        uses = "any number" if invitation.uses_left is None else f"{invitation.uses_left} left"
        state = _state(invitation.revoked, invitation.expires)
        sys.stdout.write(f"invitation {invitation.id}  {uses}  {state}  {printable(invitation.note)}\n")
    for device in known:
        state = _state(device.revoked, None)
        sys.stdout.write(f"device {device.id}  since {_day(device.created)}  by {device.invitation}  {state}\n")
    if not invitations and not known:
        sys.stdout.write("no invitations and no devices yet; make an invitation with 'flare edge invite'\n")


def revoke(
    name: Annotated[str, typer.Argument(help="A device's or an invitation's id, as 'flare edge devices' shows it.")],
    local: _Local = _LOCAL,
) -> None:
    """Revoke a device, which a running gateway then refuses at once, or an invitation; its devices stay."""
    registry = _registry(local)
    try:
        kind = registry.revoke(name)
    finally:
        registry.close()
    sys.stdout.write(f"{kind} {name} is revoked\n")


def _show(link: str, *, qr: bool) -> None:
    sys.stdout.write(f"{link}\n")
    if qr:
        from flare_edge.browser.qr import text

        sys.stdout.write(text(link))


def _registry(local: Path) -> Any:
    from flare_edge.gateway.registry import Registry
    from flare_edge.gateway.settings import REGISTRY, GatewaySettings

    if not local.is_dir():
        raise EdgeError(f"there is no folder {local}; give the site's folder of settings by --local")
    return Registry(GatewaySettings.read(local).registry or local / REGISTRY)


def _state(revoked: float | None, expires: float | None) -> str:
    if revoked is not None:
        return f"revoked {_day(revoked)}"
    if expires is None:
        return "valid"
    return f"expired {_day(expires)}" if expires < time.time() else f"valid until {_day(expires)}"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
