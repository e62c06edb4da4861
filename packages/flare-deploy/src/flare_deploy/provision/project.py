"""Projects: an authority, a server, its sites and administrators."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.files import write_text
from flare_core.job import check_name
from flare_deploy.participants import forwards
from flare_deploy.provision.kit import (
    Kit,
    KitError,
    KitInfo,
    fingerprint,
    kit_info,
    sign_kit,
    write_kit,
    write_private,
)
from flare_deploy.provision.tokens import ENROLL
from flare_transport.address import speaks_for
from flare_transport.certificates import Authority, issue, make_authority

DEFAULT_PORT = 8002
ROLES = ("project_admin", "org_admin", "lead", "member")
KIT_DAYS = 365


@dataclass(frozen=True, slots=True)
class Project:
    """A project, with its folder and its authority.

        <project>/project.json
        <project>/authority/{certificate.pem,private.key}
        <project>/server/   the server's kit and data
        <project>/admin/    the first administrator's kit

    Attributes:
        folder: the project's folder.
        name: the project's name.
        address: the address at which sites reach the server.
        authority: the authority that signs all certificates of the project.
    """

    folder: Path
    name: str
    address: str
    authority: Authority

    @classmethod
    def create(cls, folder: Path, *, name: str, address: str, admin: str | None = "admin") -> Project:
        """Make a project with a server and, unless its name is None, an administrator.

        Raises:
            KitError: the folder has a project already.
        """
        check_name(name, what="a project's name")
        if (folder / "project.json").exists():
            raise KitError(f"{folder} has a project already; choose another folder")
        authority = make_authority(f"{name} authority")
        (folder / "authority").mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        write_private(folder / "authority" / "private.key", authority.private_key)
        (folder / "authority" / "certificate.pem").write_bytes(authority.certificate)
        project = cls(folder, name, address, authority)
        project.make_kit(folder / "server", "server", "server")
        if admin is not None:
            kit = project.make_kit(folder / "admin", admin, "admin", role="project_admin")
            project.register([participant_of(kit, studies="*")])
        write_text(folder / "project.json", json.dumps({"format": 1, "name": name, "address": address}, indent=2))
        return project

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Read a project.

        Raises:
            KitError: the folder has no project that can be read.
        """
        try:
            values = json.loads((folder / "project.json").read_text())
            authority = Authority(
                (folder / "authority" / "certificate.pem").read_bytes(),
                (folder / "authority" / "private.key").read_bytes(),
            )
            return cls(folder, values["name"], values["address"], authority)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise KitError(f"{folder} is not a project ({error}); make one with 'flare up'") from error

    def make_kit(
        self,
        folder: Path,
        name: str,
        kind: str,
        *,
        role: str = "",
        org: str = "",
        listen: str = "",
        relay: KitInfo | None = None,
    ) -> Kit:
        """Make a key and a kit for a participant on this machine, or one that is given the folder.

        Args:
            folder: the kit's folder.
            name: the participant's name.
            kind: ``server``, ``admin``, or one of :mod:`flare_deploy.participants`.
            role: the role of an administrator.
            org: the participant's organization.
            listen: the address at which sites reach a relay, or another kind that forwards.
            relay: the relay that the participant connects to instead of the server.
        """
        address, via = (relay.listen, relay.name) if relay is not None else (self.address, "")
        info = KitInfo(name, kind, self.name, address, role=role, org=org, via=via, listen=listen)
        return self._certified(folder, info)

    def renew_server(self) -> Kit:
        """Replace the server's key and certificate, which may have expired; its daemon must be stopped.

        Raises:
            KitError: the server's kit is missing or was changed.
        """
        folder = self.folder / "server"
        return self._certified(folder, kit_info(folder), replace=True)

    def _certified(self, folder: Path, info: KitInfo, *, replace: bool = False) -> Kit:
        credentials = issue(self.authority, info.name, valid_days=KIT_DAYS)
        write_kit(folder, info, credentials, sign_kit(self.authority, info, credentials.certificate), replace=replace)
        return Kit.load(folder)

    def register(self, participants: list[dict[str, Any]]) -> None:
        """Register participants whose kits were made here; the server reads them when it starts."""
        path = self.folder / "server" / "startup" / "participants.json"
        known = json.loads(path.read_text()) if path.is_file() else []
        names = {each["name"] for each in participants}
        write_text(path, json.dumps([*(each for each in known if each["name"] not in names), *participants], indent=2))


def participant_of(kit: Kit, *, studies: str = "default") -> dict[str, Any]:
    """Return the entry with which the server registers the participant of a kit."""
    return {
        "name": kit.info.name,
        "kind": kit.info.kind,
        "role": kit.info.role,
        "org": kit.info.org,
        "studies": studies,
        "address": kit.info.listen,
        "fingerprint": fingerprint(kit.credentials.certificate),
        "expires": kit.expires.timestamp(),
    }


def is_reserved(name: str, server: str) -> bool:
    """Return True for names that no participant may have: the server's, those below it, and those of guests."""
    return any(speaks_for(taken, name) for taken in (server, "server", "@ALL")) or any(
        part.startswith(ENROLL) for part in name.split(".")
    )


def name_conflict(name: str, kind: str, others: Mapping[str, str]) -> str | None:
    """Describe the conflict of a name with those of other participants; None if it has none.

    The certificate of ``a`` may act as every name below it, such as ``a.b``. So only kinds that forward, such as
    relays, may have names below their own, and a project_admin, who may do everything, must not be below one.

    Args:
        name: the name in question.
        kind: the participant's kind, or ``project_admin`` for an administrator with that role.
        others: the kinds of the other participants, by name.
    """
    for other, its_kind in others.items():
        if other != name and other.casefold() == name.casefold():
            return f"{name} differs from {other} only in capital letters; choose another name"
        for (above, kind_above), (below, kind_below) in (
            ((other, its_kind), (name, kind)),
            ((name, kind), (other, its_kind)),
        ):
            refused = not forwards(kind_above) or kind_below == "project_admin"
            if above != below and speaks_for(above, below) and refused:
                return (
                    f"{name} cannot be the name of this {kind}: {above} ({kind_above}) could act as {below}"
                    f" ({kind_below}), whose name begins with '{above}.'. Only relays and other kinds that forward may"
                    " have names below their own, but not a project_admin's; choose another name"
                )
    return None


def own_address() -> str:
    """Return the address at which other machines in the network probably reach this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; only selects the network interface
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
