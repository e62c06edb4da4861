"""Joining: a machine makes its own key, has it certified with an invitation, and pins the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_deploy.provision.kit import Kit, KitError, KitInfo, check_time, write_kit
from flare_deploy.provision.tokens import Invitation
from flare_transport import AuthenticationError, Cell, Credentials, RemoteError, TransportError
from flare_transport.certificates import make_request

__all__ = ["join", "renew"]


def join(token: str, folder: Path | None = None) -> Kit:
    """Use an invitation, once; return the kit that was made.

    Args:
        folder: where the kit goes; a folder of the site's name in the working folder if left out.
    Raises:
        KitError: the invitation is damaged, used, too old; or the folder holds a kit; or the server is not there.
    """
    invitation = Invitation.read(token)
    folder = (folder or Path.cwd() / invitation.name).absolute()
    if (folder / "startup" / "kit.json").exists():
        raise KitError(f"{folder} holds a kit already; start it with 'flare client {folder}', or choose another folder")
    check_time(invitation.credentials.certificate, f"the invitation of {invitation.name}")
    private_key, request = make_request(invitation.name)
    with Cell(invitation.guest) as cell:
        answer = _ask(cell, invitation, invitation.credentials, "enroll", request)
    info = _info(answer, invitation)
    if (info.name, info.kind) != (invitation.name, invitation.kind):
        raise KitError(f"the server answers for the {info.kind} {info.name}, and {invitation.name} was invited")
    return _written(folder, info, private_key, answer, invitation.credentials.authority)


def renew(folder: Path, reached: Callable[[], None] = lambda: None) -> Kit:
    """Make a new key for a kit and have it certified; the former certificate is not valid any more.

    Args:
        folder: the kit.
        reached: called when the server is reached, before the kit changes; it has to end a daemon that uses the kit.
    Raises:
        KitError: the server is not there, and nothing was changed; or it refuses the request.
    """
    kit = Kit.load(folder)
    private_key, request = make_request(kit.info.name)
    with Cell(f"{kit.info.name}.{secrets.token_hex(4)}") as cell:
        answer = _ask(cell, kit.info, kit.credentials, "site.renew", request, reached)
    info = _info(answer, kit.info)
    return _written(kit.folder, info, private_key, answer, kit.credentials.authority, replace_kit=True)


def _ask(
    cell: Cell,
    known: Invitation | KitInfo,
    credentials: Credentials,
    topic: str,
    request: bytes,
    reached: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    try:
        cell.connect(known.address, credentials=credentials, peer=known.via or known.server, uplink=True)
        reached()
        answer: dict[str, Any] = cell.request(known.server, topic, [request]).payload
        return answer
    except (AuthenticationError, RemoteError) as error:  # it is there, and its reason says what to do
        raise KitError(str(error)) from error
    except TransportError as error:
        what = f"the relay {known.via}" if known.via else "the server"
        raise KitError(f"{error}; is {what} at {known.address} running, and reachable from here?") from error


def _info(answer: dict[str, Any], known: Invitation | KitInfo) -> KitInfo:
    where = {"project": known.project, "address": known.address, "server": known.server, "via": known.via}
    try:
        return KitInfo(**where, **{key: str(answer["info"][key]) for key in ("name", "kind", "role", "org", "listen")})
    except (KeyError, TypeError) as error:
        raise KitError(f"the server's answer cannot be read ({error}); does it run the same version?") from error


def _written(
    folder: Path,
    info: KitInfo,
    private_key: bytes,
    answer: dict[str, Any],
    authority: bytes,
    *,
    replace_kit: bool = False,
) -> Kit:
    if answer["authority"] != authority:
        raise KitError("the server answers for another authority than the one that is trusted here; nothing was kept")
    credentials = Credentials(answer["certificate"], private_key, authority)
    write_kit(folder, info, credentials, answer["signature"], replace=replace_kit)
    return Kit.load(folder)
