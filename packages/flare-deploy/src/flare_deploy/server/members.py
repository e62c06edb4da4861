"""Members: the participants of a project, their invitations and certificates, and who may connect."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, replace
from typing import Any

from cryptography import x509

from flare_core import FlareError
from flare_core.job import check_name
from flare_deploy.participants import forwards, known_kinds, takes_jobs
from flare_deploy.provision.kit import KitInfo, check_participant, fingerprint, sign_kit
from flare_deploy.provision.project import KIT_DAYS, ROLES, is_reserved, name_conflict
from flare_deploy.provision.tokens import ENROLL, make_invitation
from flare_deploy.server.store import Participant, Store
from flare_transport import AddressError
from flare_transport.address import check_name as check_cell
from flare_transport.address import parse_address, speaks_for
from flare_transport.certificates import Authority, sign_request


class MembersError(FlareError):
    """A participant cannot be invited, admitted or removed."""


class Members:
    """The participants of the project.

    They are kept in memory, since :meth:`refusal` is called on the thread that serves all links and must not wait for
    the database. A change replaces the dict, so readers need no lock.

    Args:
        store: the server's database.
        info: the server's own description.
        authority: the project's; None if its key is elsewhere, and nobody can be invited or renewed here.
    """

    def __init__(self, store: Store, info: KitInfo, authority: Authority | None) -> None:
        self._store = store
        self._info = info
        self._authority = authority
        self._lock = threading.RLock()  # held by whoever reads and then changes
        self._known = {each.name: each for each in store.participants()}
        for each in self._known.values():
            _check_kind(each)

    def sites(self) -> list[Participant]:
        """Return the sites that may take part in jobs."""
        return [each for each in self._known.values() if takes_jobs(each.kind) and each.state == "active"]

    def all(self) -> list[Participant]:
        """Return all participants, sorted by name; also the invited and the revoked."""
        return [each for _, each in sorted(self._known.items())]

    def owner_of(self, cell: str) -> Participant:
        """Return the participant to whom a cell belongs: the nearest whose name is the cell's or a prefix of it.

        Raises:
            MembersError: no participant owns it, or another participant's certificate could act in the owner's name.
        """
        found: Participant | None = None
        name = cell
        while name:
            member = self._known.get(name)
            if found is None:
                found = member
            elif member is not None and (not forwards(member.kind) or found.effective_kind == "project_admin"):
                raise MembersError(
                    f"{found.name} is refused: {member.name}, a {member.kind}, could act in its name. Remove one of"
                    " them, and invite it under another name"
                )
            name = name.rpartition(".")[0]
        if found is None:
            raise MembersError(f"{cell} is not a participant of the project {self._info.project}")
        return found

    def active_owner_of(self, cell: str) -> Participant:
        """Return the participant to whom a cell belongs, if it was not removed; relays do not know who was.

        Raises:
            MembersError: no participant owns it, or the owner was removed.
        """
        member = self.owner_of(cell)
        if member.state != "active":
            raise MembersError(f"{member.name} no longer belongs to the project; ask for a new invitation")
        return member

    def refusal(self, cell: str, certificate: bytes | None) -> str | None:
        """Return the reason why a cell may not connect, or None if it may."""
        if cell.startswith(ENROLL):
            invited = self._invited(cell)
            return None if invited else "this invitation was used or revoked, or has expired; ask for a new one"
        try:
            member = self.owner_of(cell)
        except MembersError as error:
            return f"{error}; ask its administrator for an invitation"
        if member.state == "revoked":
            return f"{member.name} was removed from the project {self._info.project}; ask for a new invitation"
        if member.state == "invited":
            return f"{member.name} was invited but has not joined yet; run 'flare join' with the token"
        if member.fingerprint and (certificate is None or fingerprint(certificate) != member.fingerprint):
            return f"this certificate of {member.name} was replaced by a newer one and is no longer valid"
        return None

    def add_provisioned(self, participants: list[dict[str, Any]]) -> None:
        """Add the participants for whom kits were made beside the server; those known already stay unchanged.

        Raises:
            MembersError: a participant is of a kind that no installed package declares.
        """
        for values in participants:
            if values["name"] not in self._known:
                member = Participant(**values)
                _check_kind(member)
                self._put(member)

    def get(self, name: str) -> Participant | None:
        """Return the participant of that name, also if it was removed, or None."""
        return self._known.get(name)

    def relay_of(self, name: str) -> Participant | None:
        """Return the relay that a participant connects to: the nearest whose name is a prefix of its own."""
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
        """Return a token with which a site, a relay or an administrator can join once; it replaces any former token.

        The arguments are those of :meth:`flare_deploy.Admin.invite`.

        Raises:
            MembersError: the name is taken or reserved, or is a prefix of another's; a relay has no address; or the
                authority is elsewhere.
            JobError: the name or a study has characters that are not allowed.
        """
        authority = self._signer()
        self._check_invited(name, kind, role, studies, days, address)
        with self._lock:
            known = self._known.get(name)
            self._check_conflicts(Participant(name, kind, role))
            if known is not None and known.state == "active":
                raise MembersError(
                    f"{name} belongs to the project already; to invite it again, remove it first with"
                    f" 'flare site remove {name}'"
                )
            until = time.time() + days * 86400
            invited = Participant(name, kind, role, org, studies, "invited", expires=until, address=address)
            invitation = make_invitation(authority, self._info_of(invited), valid_days=days)
            self._put(replace(invited, guest=invitation.guest))
        return invitation.token()

    def enroll(self, guest: str, request: bytes) -> dict[str, Any]:
        """Certify the key of an invited participant; this uses up the invitation.

        Raises:
            MembersError: the invitation is no longer valid.
            AuthenticationError: the request cannot be read.
        """
        with self._lock:
            member = self._invited(guest)
            if member is None:
                raise MembersError("this invitation was used or revoked, or has expired; ask for a new one")
            return self._certified(member, request)

    def renew(self, name: str, request: bytes) -> dict[str, Any]:
        """Certify a new key of a participant and revoke its former certificate.

        Raises:
            MembersError: it was removed in the meantime.
        """
        with self._lock:
            member = self._known[name]
            if member.state != "active":
                raise MembersError(f"{name} no longer belongs to the project; ask for a new invitation")
            return self._certified(member, request)

    def remove(self, name: str) -> Participant:
        """Revoke the certificate or the invitation of a participant.

        Raises:
            MembersError: no participant has that name.
        """
        with self._lock:
            member = self._known.get(name)
            if member is None:
                raise MembersError(f"there is no participant {name!r}; see 'flare site list'")
            return self._put(replace(member, state="revoked", guest=""))

    def _check_conflicts(self, invited: Participant) -> None:
        """Refuse a name by which one participant could act as another.

        A removed participant still counts if the new name is below its own, since relays do not know of the removal.
        """
        name = invited.name
        others = {
            each.name: each.effective_kind
            for each in self.all()
            if each.name != name and (each.state != "revoked" or speaks_for(each.name, name))
        }
        problem = name_conflict(name, invited.effective_kind, others)
        if problem is not None:
            raise MembersError(problem)

    def _check_invited(self, name: str, kind: str, role: str, studies: str, days: int, address: str) -> None:
        check_participant(name)
        check_cell(name)
        if is_reserved(name, self._info.server):
            raise MembersError(f"the name {name!r} is reserved; choose another")
        if kind == "server" or kind not in known_kinds():
            known = ", ".join(each for each in known_kinds() if each != "server")
            raise MembersError(f"nobody can be invited as a {kind!r}; the server knows {known}")
        _check_address(name, kind, address)
        if kind == "admin" and role not in ROLES:
            raise MembersError(f"the role is {role!r}; choose one of {', '.join(ROLES)}")
        for study in studies.split(","):
            if study != "*":
                check_name(study, what=f"a study of {name}")
        if not 0 < days <= KIT_DAYS:
            raise MembersError(f"an invitation cannot be valid for {days} days; give 1 to {KIT_DAYS}")

    def _certified(self, member: Participant, request: bytes) -> dict[str, Any]:
        authority = self._signer()
        certificate = sign_request(authority, request, name=member.name, valid_days=KIT_DAYS)
        info = self._info_of(member)
        expires = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
        self._put(replace(member, state="active", guest="", fingerprint=fingerprint(certificate), expires=expires))
        return {
            "certificate": certificate,
            "authority": authority.certificate,
            "signature": sign_kit(authority, info, certificate),
            "info": asdict(info),
        }

    def _info_of(self, member: Participant) -> KitInfo:
        """Return the content of a participant's kit.json."""
        relay = self.relay_of(member.name)
        where = self._info if relay is None else replace(self._info, address=relay.address, via=relay.name)
        own = {"name": member.name, "kind": member.kind, "role": member.role, "org": member.org}
        return replace(where, **own, listen=member.address)

    def _invited(self, guest: str) -> Participant | None:
        for member in self._known.values():
            if member.guest == guest and member.state == "invited" and member.expires > time.time():
                return member
        return None

    def _signer(self) -> Authority:
        if self._authority is None:
            raise MembersError(
                "the key of the project's authority is not at this server; make kits where 'flare provision' was run"
            )
        return self._authority

    def _put(self, member: Participant) -> Participant:
        self._store.put_participant(member)
        self._known = {**self._known, member.name: member}
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
    """Check the address of an invited participant.

    Raises:
        MembersError: a relay has none, or an address that sites cannot connect to; or another participant has one.
    """
    if not forwards(kind):
        if address:
            raise MembersError(f"{name} is invited as a {kind}, which has no address")
        return
    try:
        scheme = parse_address(address).scheme
    except AddressError as error:
        raise MembersError(f"the address of the {kind} {name}: {error}") from error
    if scheme == "unix":
        raise MembersError(f"the {kind} {name} cannot be reached at {address!r}; give grpc://host:port")
