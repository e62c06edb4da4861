"""What reaches the server's side of a run, from its sites and from those that look after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from flare_core import FlareError, FLModel, SiteError
from flare_runtime.run.roster import Roster
from flare_transport import Message

__all__ = ["Ended", "Failed", "Left", "Logged", "Post", "Ready", "Result", "Warned"]


@dataclass(frozen=True, slots=True)
class Result:
    """A reply to a task, not decoded yet."""

    message: Message

    def content(self, roster: Roster) -> tuple[str, int, str, FLModel]:
        """Return the sender, the task's id, the site and the model.

        Raises:
            SiteError: it cannot be decoded here.
        """
        sender = self.message.sender
        try:
            task_id, site, model = self.message.payload
        except (FlareError, TypeError, ValueError) as error:
            sites = roster.sites_of(sender)
            raise SiteError(
                f"{sender} (which serves {', '.join(sites)}) sent a reply that cannot be read here: {error}",
                site=sites[0] if sites else sender,
            ) from error
        return sender, task_id, site, model


@dataclass(frozen=True, slots=True)
class Failed:
    """A site's script failed, so the site is lost."""

    site: str
    message: str
    details: str

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Failed:
        """Read it from a message of the site's."""
        site, text, details = message.payload
        return cls(_own(site, message, roster), text, details)


@dataclass(frozen=True, slots=True)
class Logged:
    """A number that a site reports; ``round`` is the one of the task that the site was given last."""

    site: str
    key: str
    value: Any
    kind: str
    step: int | None
    round: int | None

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Logged:
        """Read it from a message of the site's."""
        site, key, value, kind, step, _extra, round_ = message.payload
        return cls(_own(site, message, roster), key, value, kind, step, round_)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something at a site that people should see although the run goes on."""

    site: str
    text: str

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Warned:
        """Read it from a message of the site's."""
        site, text = message.payload
        return cls(_own(site, message, roster), text)


@dataclass(frozen=True, slots=True)
class Ready:
    """A cell is ready to serve sites."""

    host: str
    sites: list[str]

    @classmethod
    def read(cls, message: Message, roster: Roster) -> Ready:
        """Read it from a message of that cell's.

        Raises:
            SiteError: the cell may not serve a site that it names.
        """
        for site in message.payload:
            if not roster.may_serve(message.sender, site):
                raise SiteError(
                    f"{message.sender} cannot serve the site {site!r}, which is not its own", site=str(site)
                )
        return cls(message.sender, message.payload)


@dataclass(frozen=True, slots=True)
class Left:
    """A cell that serves sites is gone."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A cell that serves sites has ended in order."""

    host: str


Post: TypeAlias = Result | Failed | Logged | Warned | Ready | Left | Ended | BaseException


def _own(site: str, message: Message, roster: Roster) -> str:
    if not roster.speaks_for(message.sender, site):
        raise SiteError(f"{message.sender} spoke for the site {site!r}, which is not its own", site=str(site))
    return site
