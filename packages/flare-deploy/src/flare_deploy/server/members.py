"""Members: who belongs to the project, who may connect, and how somebody joins, is renewed or put out."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC
from typing import Any

from cryptography import x509

from flare_core import FlareError
from flare_core.job import check_name
from flare_deploy.participants import forwards, known_kinds, takes_jobs
from flare_deploy.provision.kit import KitInfo, check_participant, fingerprint, sign_kit
from flare_deploy.provision.project import KIT_DAYS, ROLES, is_reserved, misplaced
from flare_deploy.provision.tokens import ENROLL, make_invitation
from flare_deploy.server.store import Participant, Store
from flare_transport import AddressError
from flare_transport.address import check_name as check_cell
from flare_transport.address import parse_address, speaks_for
from flare_transport.certificates import Authority, sign_request

__all__ = ["Members", "MembersError"]


class MembersError(FlareError):
    """Somebody cannot be invited, admitted or removed."""


class Members:
    """The participants of the project.

    Args:
        authority: with its key, if it lies at the server: without it nobody can be invited or renewed here.
    """

    def __init__(self, store: Store, info: KitInfo, authority: Authority | None) -> None:
        self._store = store
        self._info = info
        self._authority = authority
        self._lock = threading.RLock()  # over what is looked at and then changed
        self._known = {each.name: each for each in store.participants()}
        for each in self._known.values():
            _check_kind(each)

    def sites(self) -> list[Participant]:
        """The sites that may take part in jobs."""
        return [each for each in self._known.copy().values() if takes_jobs(each.kind) and each.state == "active"]

    def all(self) -> list[Participant]:
        """Everybody, by name."""
        return [each for _, each in sorted(self._known.copy().items())]

    def owner_of(self, cell: str) -> Participant:
        """Return the participant whose cell this is.

        Raises:
            MembersError: it is nobody's, or of somebody for whom another participant could speak.
        """
        found: Participant | None = None
        name = cell
        while name:
            member = self._known.get(name)
            if found is None:
                found = member
            elif member is not None and (not forwards(member.kind) or found.standing == "project_admin"):
                raise MembersError(
                    f"{found.name} is not served: {member.name}, a {member.kind}, could act in its name. Put one of"
                    " them out, and invite it under another name"
                )
            name = name.rpartition(".")[0]
        if found is None:
            raise MembersError(f"{cell} is no participant of the project {self._info.project}")
        return found

    def active_owner_of(self, cell: str) -> Participant:
        """Return the participant whose cell this is, if it still belongs to the project, which a relay does not know.

        Raises:
            MembersError: it is nobody's, or of somebody who was removed.
        """
        member = self.owner_of(cell)
        if member.state != "active":
            raise MembersError(f"{member.name} does not belong to the project any more; ask for a new invitation")
        return member

    def refusal(self, cell: str, certificate: bytes | None) -> str | None:
        """Say why a cell may not connect, or None if it may; called on the thread of all links, so it only looks."""
        if cell.startswith(ENROLL):
            invited = self._invited(cell)
            return None if invited else "this invitation was used, withdrawn or is too old; ask for a new one"
        try:
            member = self.owner_of(cell)
        except MembersError as error:
            return f"{error}; ask its administrator for an invitation"
        if member.state == "revoked":
            return f"{member.name} was removed from the project {self._info.project}; ask for a new invitation"
        if member.state == "invited":
            return f"{member.name} was invited but has not joined; run 'flare join' with the token"
        if member.fingerprint and (certificate is None or fingerprint(certificate) != member.fingerprint):
            return f"{member.name} has a newer certificate than this one, which is not valid any more"
        return None

    def add_known(self, participants: list[dict[str, Any]]) -> None:
        """Take in the participants of a provisioned project; those that are known already stay as they are.

        Raises:
            MembersError: one is of a kind that no installed package declares.
        """
        for values in participants:
            if values["name"] not in self._known:
                member = Participant(**values)
                _check_kind(member)
                self._put(member)

    def get(self, name: str) -> Participant | None:
        """The participant of that name, removed ones included; None if nobody is called so."""
        return self._known.get(name)

    def relay_of(self, name: str) -> Participant | None:
        """The relay through which a participant reaches the server: the nearest one that its name is below."""
        while name := name.rpartition(".")[0]:
            found = self._known.get(name)
            if found is not None and forwards(found.kind):
                return found
        return None

    def invite(
        self,
        name: str,
        *,
        kind: str = "client",
        role: str = "",
        org: str = "",
        studies: str = "default",
        days: int = 3,
        address: str = "",
    ) -> str:
        """Return a token with which a site, a relay or an administrator can join, once; a former one becomes void.

        Raises:
            MembersError: the name is taken, reserved, cannot be one, or is above or below another's; a relay has no
                address; or there is no authority here.
        """
        authority = self._signer()
        self._check_invited(name, kind, role, studies, days, address)
        with self._lock:
            known = self._known.get(name)
            self._check_place(Participant(name, kind, role))
            if known is not None and known.state == "active":
                raise MembersError(
                    f"{name} belongs to the project already; 'flare site remove {name}' puts it out, after which it can"
                    " be invited again"
                )
            where = self._where(name)
            invitation = make_invitation(
                authority,
                name=name,
                kind=kind,
                project=where.project,
                address=where.address,
                server=where.server,
                via=where.via,
                valid_days=days,
            )
            until = time.time() + days * 86400
            invited = Participant(name, kind, role, org, studies, "invited", expires=until, address=address)
            self._put(replace(invited, guest=invitation.guest))
        return invitation.token()

    def enroll(self, guest: str, request: bytes) -> dict[str, Any]:
        """Certify the key of who was invited, whose invitation is used up by that.

        Raises:
            MembersError: the invitation is not good any more.
            AuthenticationError: the request is none.
        """
        with self._lock:
            member = self._invited(guest)
            if member is None:
                raise MembersError("this invitation was used, withdrawn or is too old; ask for a new one")
            return self._certified(member, request)

    def renew(self, name: str, request: bytes) -> dict[str, Any]:
        """Certify a new key of a participant; its former certificate is not valid any more.

        Raises:
            MembersError: it was removed in the meantime.
        """
        with self._lock:
            member = self._known[name]
            if member.state != "active":
                raise MembersError(f"{name} does not belong to the project any more; ask for a new invitation")
            return self._certified(member, request)

    def remove(self, name: str) -> Participant:
        """Put a participant out: neither its certificate nor its invitation is good any more.

        Raises:
            MembersError: nobody is called so.
        """
        with self._lock:
            member = self._known.get(name)
            if member is None:
                raise MembersError(f"nobody is called {name!r}; see 'flare site list'")
            return self._put(replace(member, state="revoked", guest=""))

    def _check_place(self, invited: Participant) -> None:
        """Refuse a name by which one participant could act as another.

        Who was removed still counts if the name is below its own: a relay does not know of the removal.
        """
        name = invited.name
        others = {
            each.name: each.standing
            for each in self.all()
            if each.name != name and (each.state != "revoked" or speaks_for(each.name, name))
        }
        problem = misplaced(name, invited.standing, others)
        if problem is not None:
            raise MembersError(problem)

    def _check_invited(self, name: str, kind: str, role: str, studies: str, days: int, address: str) -> None:
        check_participant(name)
        check_cell(name)
        if is_reserved(name, self._info.server):
            raise MembersError(f"nobody can be called {name!r}; the name is reserved")
        if kind == "server" or kind not in known_kinds():
            known = ", ".join(each for each in known_kinds() if each != "server")
            raise MembersError(f"nobody is invited as a {kind!r}; the server knows {known}")
        _check_address(name, kind, address)
        if kind == "admin" and role not in ROLES:
            raise MembersError(f"the role is {role!r}; known are {', '.join(ROLES)}")
        for study in studies.split(","):
            if study != "*":
                check_name(study, what=f"a study of {name}")
        if not 0 < days <= KIT_DAYS:
            raise MembersError(f"an invitation cannot be good for {days} days; give 1 to {KIT_DAYS}")

    def _certified(self, member: Participant, request: bytes) -> dict[str, Any]:
        authority = self._signer()
        certificate = sign_request(authority, request, name=member.name, valid_days=KIT_DAYS)
        info = replace(
            self._where(member.name),
            name=member.name,
            kind=member.kind,
            role=member.role,
            org=member.org,
            listen=member.address,
        )
        until = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
        self._put(
            replace(
                member,
                state="active",
                guest="",
                fingerprint=fingerprint(certificate),
                expires=until.astimezone(UTC).timestamp(),
            )
        )
        return {
            "certificate": certificate,
            "authority": authority.certificate,
            "signature": sign_kit(authority, info, certificate),
            "info": {
                "name": info.name,
                "kind": info.kind,
                "role": info.role,
                "org": info.org,
                "listen": info.listen,
            },
        }

    def _where(self, name: str) -> KitInfo:
        """The server's own description, with the address at which a participant finds it, or a relay to it."""
        relay = self.relay_of(name)
        return self._info if relay is None else replace(self._info, address=relay.address, via=relay.name)

    def _invited(self, guest: str) -> Participant | None:
        for member in self._known.copy().values():
            if member.guest == guest and member.state == "invited" and member.expires > time.time():
                return member
        return None

    def _signer(self) -> Authority:
        if self._authority is None:
            raise MembersError(
                "the project's authority does not lie at this server; make kits where 'flare provision' was run"
            )
        return self._authority

    def _put(self, member: Participant) -> Participant:
        self._store.put_participant(member)
        self._known = {**self._known, member.name: member}  # a new dict: readers take no lock
        return member


def _check_kind(member: Participant) -> None:
    """Refuse a participant about whose kind nothing is known, rather than serve without it.

    Raises:
        MembersError: names the participant.
    """
    if member.kind not in known_kinds():
        raise MembersError(
            f"{member.name} is of the kind {member.kind!r}, which no installed package declares; install at the server"
            " the package that does"
        )


def _check_address(name: str, kind: str, address: str) -> None:
    """Refuse what is no address of a relay, or of another kind that forwards.

    Raises:
        MembersError: says why.
    """
    if not forwards(kind):
        if address:
            raise MembersError(f"{name} is invited as a {kind}, which has no address")
        return
    try:
        scheme = parse_address(address).scheme
    except AddressError as error:
        raise MembersError(f"where those below the {kind} {name} reach it: {error}") from error
    if scheme in ("inproc", "unix"):
        raise MembersError(f"the {kind} {name} cannot be reached at {address!r}; give grpc://host:port")
