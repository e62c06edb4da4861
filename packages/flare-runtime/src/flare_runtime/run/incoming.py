"""Messages from the sites, and notifications about them, as the server's side of a run handles them.

Everything in a message is checked when it is read, on the thread of its link: a site can send anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from flare_core import FlareError, FLModel, SiteError
from flare_runtime.run.conversation import Answer
from flare_runtime.run.roster import Roster
from flare_tensor_downloader.payload import Payload
from flare_transport import Message

__all__ = ["Ended", "Failed", "Incoming", "Left", "Logged", "Ready", "Removed", "Result", "Warned"]

MOST_CHARACTERS = 1 << 16  # of a text that is shown to people


@dataclass(frozen=True, slots=True)
class Result:
    """A reply to a task; it is decoded on the workflow's thread, so that large ones do not hold up the link."""

    message: Message

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Result:
        """Accept a message from a site of this run; other cells that are connected to the server cannot end the run.

        Raises:
            SiteError: the sender does not serve a site of this run.
        """
        if not roster.knows(message.sender):
            raise SiteError(f"{message.sender} does not serve a site of this run", site=message.sender)
        return cls(message)

    def content(self, roster: Roster) -> tuple[str, int, str, Answer]:
        """Return the sender, the task's id, the site and the answer.

        Raises:
            SiteError: the message cannot be decoded here, or is not a reply.
        """
        sender = self.message.sender
        try:
            task_id, site, answer = _fields(self.message, int, str, (FLModel, Payload))
        except FlareError as error:
            sites = self._sites(roster)
            whose = ", ".join(sites) or "a lost site"
            raise SiteError(
                f"{whose} (served by {sender}) sent a reply that cannot be read here: {error}",
                site=sites[0] if len(sites) == 1 else sender,
            ) from error
        return sender, task_id, site, answer

    def _sites(self, roster: Roster) -> list[str]:
        """Return the site that the reply names, or all sites that the sender serves if it names none of them."""
        served = [site for site in roster.sites if roster.speaks_for(self.message.sender, site)]
        try:
            return [site for site in served if site == self.message.payload[1]] or served
        except (FlareError, TypeError, LookupError):  # the payload cannot be decoded, or is not a list
            return served


@dataclass(frozen=True, slots=True)
class Failed:
    """A site's script failed, so the run has lost the site."""

    site: str
    message: str
    details: str

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Failed:
        """Read a failure from a site's message."""
        site, text, details = _fields(message, str, str, str)
        return cls(_own(site, message, roster), text[:MOST_CHARACTERS], details[-MOST_CHARACTERS:])


@dataclass(frozen=True, slots=True)
class Logged:
    """A value reported by a site, or by a service on the server (``site`` is None).

    ``round`` is the round of the last task that the site was given.
    """

    site: str | None
    key: str
    value: Any
    kind: str
    step: int | None
    round: int | None

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Logged:
        """Read a logged value from a site's message."""
        number = (int, type(None))
        site, key, value, kind, step, round_ = _fields(message, str, str, object, str, number, number)
        return cls(_own(site, message, roster), key, value, kind, step, round_)


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning from a site, or from the server if ``site`` is None; the run continues."""

    site: str | None
    text: str

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Warned:
        """Read a warning from a site's message."""
        site, text = _fields(message, str, str)
        return cls(_own(site, message, roster), text[:MOST_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Ready:
    """A cell is ready to serve its sites."""

    host: str
    sites: list[str]

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Ready:
        """Read the sites that a cell serves from its message.

        Raises:
            SiteError: the message is malformed, or the cell may not serve a site that it names.
        """
        sites = message.payload
        if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites):
            raise SiteError(f"{message.sender} did not list the sites that it serves", site=message.sender)
        for site in sites:
            if not roster.may_serve(message.sender, site):
                raise SiteError(f"{message.sender} may not serve the site {site!r}", site=str(site))
        return cls(message.sender, sites)


@dataclass(frozen=True, slots=True)
class Left:
    """A cell that serves sites was lost; its sites may return."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A site was removed from the project and will not return."""

    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A cell that serves sites has ended: regularly, or because the script of ``ended_by`` called ``os._exit(0)``."""

    host: str
    ended_by: str | None


Incoming: TypeAlias = Result | Failed | Logged | Warned | Ready | Left | Removed | Ended | BaseException


def _fields(message: Message, *types: Any) -> Any:
    """Return the fields of a site's message, after checking their number and types.

    Raises:
        SiteError: the payload has other fields.
    """
    payload = message.payload
    if not isinstance(payload, list | tuple) or len(payload) != len(types) or not all(map(isinstance, payload, types)):
        raise SiteError(f"{message.sender} sent a '{message.topic}' that cannot be read here", site=message.sender)
    return payload


def _own(site: str, message: Message, roster: Roster) -> str:
    if not roster.speaks_for(message.sender, site):
        raise SiteError(f"{message.sender} spoke for the site {site!r}, which it does not serve", site=str(site))
    return site
