"""What reaches the server's side of a run, from its sites and from those that look after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from flare_core import FlareError, FLModel, SiteError
from flare_runtime.run.conversation import Answer
from flare_runtime.run.roster import Roster
from flare_tensor_downloader import Payload
from flare_transport import Message

__all__ = ["Ended", "Failed", "Incoming", "Left", "Logged", "Ready", "Removed", "Result", "Warned"]

MOST_CHARACTERS = 1 << 16  # of a text that people are shown


@dataclass(frozen=True, slots=True)
class Result:
    """A reply to a task, not decoded yet."""

    message: Message

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Result:
        """Take a message of one of the run's sites; others that are connected to the server cannot end the run.

        Raises:
            SiteError: the sender serves no site of this run.
        """
        if not roster.knows(message.sender):
            raise SiteError(f"{message.sender} serves no site of this run, and cannot reply", site=message.sender)
        return cls(message)

    def content(self, roster: Roster) -> tuple[str, int, str, Answer]:
        """Return the sender, the task's id, the site and the answer.

        Raises:
            SiteError: it cannot be decoded here, or is no reply.
        """
        sender = self.message.sender
        try:
            task_id, site, answer = _fields(self.message, int, str, (FLModel, Payload))
        except FlareError as error:
            sites = self._sites(roster)
            raise SiteError(
                f"{', '.join(sites) or 'no site any more'} (served by {sender}) sent a reply that cannot be read here:"
                f" {error}",
                site=sites[0] if len(sites) == 1 else sender,
            ) from error
        return sender, task_id, site, answer

    def _sites(self, roster: Roster) -> list[str]:
        """The site whose reply it says it is, or all whose it can be."""
        served = [site for site in roster.sites if roster.speaks_for(self.message.sender, site)]
        try:
            return [site for site in served if site == self.message.payload[1]] or served
        except (FlareError, TypeError, LookupError):  # of what cannot be decoded, or is no list
            return served


@dataclass(frozen=True, slots=True)
class Failed:
    """A site's script failed, so the site is lost."""

    site: str
    message: str
    details: str

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Failed:
        """Read it from a message of the site's."""
        site, text, details = _fields(message, str, str, str)
        return cls(_own(site, message, roster), text[:MOST_CHARACTERS], details[-MOST_CHARACTERS:])


@dataclass(frozen=True, slots=True)
class Logged:
    """A number that a site reports, or a service of the server's, whose site is None.

    ``round`` is that of the task that the site was given last.
    """

    site: str | None
    key: str
    value: Any
    kind: str
    step: int | None
    round: int | None

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Logged:
        """Read it from a message of the site's."""
        number = (int, type(None))
        site, key, value, kind, step, round_ = _fields(message, str, str, object, str, number, number)
        return cls(_own(site, message, roster), key, value, kind, step, round_)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something at a site, or at the server if that is None, that people should see although the run goes on."""

    site: str | None
    text: str

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Warned:
        """Read it from a message of the site's."""
        site, text = _fields(message, str, str)
        return cls(_own(site, message, roster), text[:MOST_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Ready:
    """A cell is ready to serve sites."""

    host: str
    sites: list[str]

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Ready:
        """Read it from a message of that cell's.

        Raises:
            SiteError: it says something else, or the cell may not serve a site that it names.
        """
        sites = message.payload
        if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites):
            raise SiteError(f"{message.sender} does not say which sites it serves", site=message.sender)
        for site in sites:
            if not roster.may_serve(message.sender, site):
                raise SiteError(
                    f"{message.sender} cannot serve the site {site!r}, which is not its own", site=str(site)
                )
        return cls(message.sender, sites)


@dataclass(frozen=True, slots=True)
class Left:
    """A cell that serves sites is gone."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A site does not belong to the project any more, and will not come back."""

    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A cell that serves sites has ended: in order, or because the script of ``ended_by`` called ``os._exit(0)``."""

    host: str
    ended_by: str | None


Incoming: TypeAlias = Result | Failed | Logged | Warned | Ready | Left | Removed | Ended | BaseException


def _fields(message: Message, *types: Any) -> Any:
    """The parts of a site's message, which may hold anything.

    Raises:
        SiteError: they are others than there should be.
    """
    payload = message.payload
    if not isinstance(payload, list | tuple) or len(payload) != len(types) or not all(map(isinstance, payload, types)):
        raise SiteError(f"{message.sender} sent a '{message.topic}' that cannot be read here", site=message.sender)
    return payload


def _own(site: str, message: Message, roster: Roster) -> str:
    if not roster.speaks_for(message.sender, site):
        raise SiteError(f"{message.sender} spoke for the site {site!r}, which is not its own", site=str(site))
    return site
