"""Task and Reply: one piece of work for one site, and its answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_core.errors import ModelError, SiteError, WeightError
from flare_core.model import FLModel, MetaKey

# What scripts call the number of steps, reduced to letters.
_STEPS = {"numsteps", "numstepscurrentround", "steps", "numsamples", "nsamples", "samples", "numexamples", "examples"}
_NUM_STEPS = f'meta["{MetaKey.NUM_STEPS_CURRENT_ROUND}"]'


class TaskName:
    """Names of the tasks that Flare's own workflows send."""

    TRAIN = "train"
    VALIDATE = "validate"
    SUBMIT_MODEL = "submit_model"
    KEEP_MODEL = "keep_model"
    SWARM_AGGREGATE = "swarm.aggregate"
    SWARM_HOLD = "swarm.hold"
    SWARM_RECALL = "swarm.recall"


@dataclass(slots=True)
class Task:
    """Work for one site: a name and the data to work on.

    Attributes:
        name: the kind of work, such as ``train``; the names that Flare's own workflows use are in :class:`TaskName`.
        data: anything that :mod:`flare_fobs` serializes, such as an :class:`~flare_core.FLModel`, a dict of arrays or a
            registered dataclass. Its arrays belong to the executor, which may change them.
        id: the task's number within the run.
        round: the round in which it was given; None outside of rounds.
        result_stays: whether the params of the reply stay at the site, for other sites to fetch.
    """

    name: str
    data: Any = None
    id: int = 0
    round: int | None = field(default=None, kw_only=True)
    result_stays: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.round is None and isinstance(self.data, FLModel):
            self.round = self.data.current_round

    @property
    def model(self) -> FLModel:
        """The data, where they are a model.

        Raises:
            ModelError: they are something else.
        """
        if isinstance(self.data, FLModel):
            return self.data
        raise ModelError(
            f"the task '{self.name}' carries a {type(self.data).__name__} where an FLModel is expected; scripts train"
            " models only, so have an Executor do other tasks"
        )


class Reply:
    """The answer of one site.

    The arrays of ``data`` are fetched from the site when they are read. They can be read while the conversation is
    open: with :meth:`Federation.broadcast` until the next broadcast or the end of the round, else until the
    conversation is closed. :meth:`release` ends that sooner, and lets the site's script continue. This does not depend
    on the size of the arrays. An array that was read belongs to the reader.

    Args:
        site: the site that answered.
        task: the name of the task.
        data: the answer.
        round: the round in which the site was given the task; None outside of rounds.
        sent: the data that the site was given, before any filter.
        read: returns the data when they are first asked for; then ``data`` is not looked at.
        release: tells the site to drop the arrays that it holds for the reply; may be called several times.
    """

    __slots__ = ("_data", "_read", "_release", "round", "sent", "site", "task")

    def __init__(
        self,
        site: str,
        task: str,
        data: Any = None,
        round: int | None = None,
        sent: Any = None,
        *,
        read: Callable[[], Any] | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        self.site = site
        self.task = task
        self.round = round
        self.sent = sent
        self._data = data
        self._read = read
        self._release = release

    @property
    def data(self) -> Any:
        """The answer. The params of a model are read one by one; anything else as a whole, when this is first asked.

        Raises:
            FlareError: they can no longer be read.
        """
        if self._read is not None:
            self._data = self._read()
            self._read = None
        return self._data

    @property
    def model(self) -> FLModel:
        """The answer, where it is a model.

        Raises:
            SiteError: it is something else; names the site.
        """
        data = self.data
        if isinstance(data, FLModel):
            return data
        raise SiteError(
            f"the answer to '{self.task}' is a {type(data).__name__} where an FLModel is expected", site=self.site
        )

    def with_model(self, model: FLModel) -> Reply:
        """Return a copy of the reply with another model; releasing the copy releases this reply."""
        return Reply(self.site, self.task, model, self.round, self.sent, release=self._release)

    def release(self) -> None:
        """Discard the arrays that were not read, and let the site's script continue."""
        if self._release is not None:
            self._release()

    @property
    def num_steps(self) -> float:
        """The number of steps behind the contribution: ``meta["NUM_STEPS_CURRENT_ROUND"]``, by default 1.

        Raises:
            WeightError: it is not a finite number of at least 0.
        """
        return checked_weight(self.model.meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND, 1), self.site, _NUM_STEPS)

    def __repr__(self) -> str:
        return f"Reply({self.site!r}, {self.task!r}, round={self.round})"


def checked_weight(value: Any, site: str, source: str) -> float:
    """Return ``value`` as the weight of a site's contribution.

    Args:
        value: the value from the site or a setting.
        site: the site.
        source: the source of the value, for the message.
    Raises:
        WeightError: it is not a finite number of at least 0; names the site and the source.
    """
    try:
        weight = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not math.isfinite(weight) or weight < 0:
        raise WeightError(f"{site}: {source} is {value!r}; a weight is a finite number of at least 0")
    return weight


class Sample(tuple[str, ...]):
    """The sites of a round.

    Attributes:
        quorum: how many of them must answer; the round continues without sites that leave or are late as long as so
            many are left.
    """

    quorum: int

    def __new__(cls, sites: Iterable[str], quorum: int) -> Sample:
        made = super().__new__(cls, sites)
        made.quorum = quorum
        return made

    @classmethod
    def in_turn(cls, order: Sequence[str], index: int, *, done: int, minimum: int) -> Sample:
        """One site of several that work in turn; it may be lost if enough others have worked, or will have.

        Args:
            order: the sites of the round.
            index: whose turn it is.
            done: how many before it have done their work.
            minimum: how many must; if there are fewer in ``order``, none must.
        """
        others = done + len(order) - index - 1
        return cls((order[index],), 0 if others >= minimum or len(order) < minimum else 1)


class WeightsSeen:
    """A check that either all sites send the weight of their contributions, or none does."""

    def __init__(self) -> None:
        self._weighted: tuple[str, float] | None = None  # the first site with a weight other than 1, and the weight
        self._unweighted: str | None = None

    def warnings(self, reply: Reply) -> Iterable[str]:
        """Record the weight of a reply, and yield warnings about it."""
        meta = reply.model.meta
        if MetaKey.NUM_STEPS_CURRENT_ROUND in meta:
            if reply.num_steps not in (0, 1):
                self._weighted = self._weighted or (reply.site, reply.num_steps)
        else:
            self._unweighted = self._unweighted or reply.site
            for name in meta:
                if re.sub("[^a-z]", "", str(name).lower()) in _STEPS:
                    yield (
                        f"meta['{name}'] of the replies is ignored; the weight of a contribution is"
                        f" meta['{MetaKey.NUM_STEPS_CURRENT_ROUND}']"
                    )
        if self._weighted is not None and self._unweighted is not None:
            site, steps = self._weighted
            yield (
                f"{self._unweighted} sends no meta['{MetaKey.NUM_STEPS_CURRENT_ROUND}'] and counts as 1 step, while"
                f" {site} counts as {steps:g}; send it from all sites, or from none"
            )
