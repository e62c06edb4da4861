"""Join a project: make a key on this machine, have it certified with an invitation, and pin the authority."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_deploy.provision.kit import Kit, KitError, KitInfo, check_time, write_kit
from flare_deploy.provision.tokens import Invitation
from flare_transport import AuthenticationError, Cell, Credentials, RemoteError, TransportError
from flare_transport.certificates import make_request


def join(token: str, folder: Path | None = None) -> Kit:
    """Use an invitation, which is possible once, and return the new kit.

    Args:
        token: the invitation.
        folder: the folder for the kit; by default one in the working folder, with the name of the participant.
    Raises:
        KitError: the invitation is damaged, used or expired, the folder has a kit already, or the server cannot be
            reached.
    """
    invitation = Invitation.read(token)
    invited = invitation.info
    folder = (folder or Path.cwd() / invited.name).absolute()
    if (folder / "startup" / "kit.json").exists():
        raise KitError(f"{folder} has a kit already; start it with 'flare client {folder}', or choose another folder")
    check_time(invitation.credentials.certificate, f"the invitation of {invited.name}")
    private_key, request = make_request(invited.name)
    with Cell(invitation.guest) as cell:
        answer = _ask(cell, invited, invitation.credentials, "enroll", request)
    return _write(folder, invited, private_key, answer, invitation.credentials.authority)


def renew(folder: Path, reached: Callable[[], None] = lambda: None) -> Kit:
    """Make a new key for a kit and have it certified; the server then revokes the former certificate.

    Args:
        folder: the kit.
        reached: called when the server is reached, before the kit changes, to stop a daemon that uses the kit.
    Raises:
        KitError: the server cannot be reached, or refuses the request; the kit is unchanged.
    """
    kit = Kit.load(folder)
    private_key, request = make_request(kit.info.name)
    with Cell(f"{kit.info.name}.{secrets.token_hex(4)}") as cell:
        answer = _ask(cell, kit.info, kit.credentials, "site.renew", request, reached)
    return _write(kit.folder, kit.info, private_key, answer, kit.credentials.authority, replace_kit=True)


def _ask(
    cell: Cell,
    known: KitInfo,
    credentials: Credentials,
    topic: str,
    request: bytes,
    reached: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    try:
        cell.connect(known.address, credentials=credentials, peer=known.listener, uplink=True)
        reached()
        answer: dict[str, Any] = cell.request(known.server, topic, [request]).payload
        return answer
    except (AuthenticationError, RemoteError) as error:  # the server's reason says what to do
        raise KitError(str(error)) from error
    except TransportError as error:
        listener = f"the relay {known.via}" if known.via else "the server"
        raise KitError(f"{error}; is {listener} at {known.address} running, and reachable from here?") from error


def _write(
    folder: Path,
    known: KitInfo,
    private_key: bytes,
    answer: dict[str, Any],
    authority: bytes,
    *,
    replace_kit: bool = False,
) -> Kit:
    """Write the kit of a participant that the server has certified."""
    try:
        info = KitInfo.of(answer["info"])
    except (KeyError, TypeError, ValueError) as error:
        raise KitError(f"the server's answer cannot be read ({error}); does it run the same version?") from error
    if (info.name, info.kind) != (known.name, known.kind):
        raise KitError(f"the server has certified the {info.kind} {info.name}, not the {known.kind} {known.name}")
    if answer["authority"] != authority:
        raise KitError("the server has another authority than the invitation or kit; the answer is not used")
    credentials = Credentials(answer["certificate"], private_key, authority)
    write_kit(folder, info, credentials, answer["signature"], replace=replace_kit)
    return Kit.load(folder)
