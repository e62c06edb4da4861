"""Task and Reply: one piece of work for one site, and what the site made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flare_core.errors import WeightError
from flare_core.model import FLModel, MetaKey

__all__ = ["Reply", "Task", "TaskName"]

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
    """Work for one site: a name and the model to work on.

    Attributes:
        name: what to do, such as ``train``; those of Flare's own workflows are in :class:`TaskName`.
        model: the model to work on.
        id: the task's number within the run.
        result_stays: whether the params of the reply stay at the site, for other sites to fetch.
    """

    name: str
    model: FLModel
    id: int = 0
    result_stays: bool = False


@dataclass(slots=True)
class Reply:
    """What one site answered.

    ``model.params`` may be lazy: an array is fetched from the site when it is read and released after. It can be read
    until the next reply is taken from :meth:`Federation.broadcast`; an aggregator that needs it for longer copies what
    it needs, or calls ``reply.model.params.keep()`` where there is one.

    Attributes:
        site: who answered.
        task: the name of the task.
        model: the answer: params, metrics or both.
        round: the round in which the site was given the task.
        sent: the model that it was given, before any filter.
    """

    site: str
    task: str
    model: FLModel
    round: int | None = None
    sent: FLModel | None = None

    @property
    def num_steps(self) -> float:
        """How much work stands behind the contribution: ``meta["NUM_STEPS_CURRENT_ROUND"]``, else 1.

        Raises:
            WeightError: it is no finite number from 0.
        """
        return checked_weight(self.model.meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND, 1), self.site, _NUM_STEPS)


def checked_weight(value: Any, site: str, source: str) -> float:
    """Return ``value`` as the weight of a site's contribution.

    Args:
        value: what the site, or a setting, says.
        site: whose contribution it is.
        source: where the value came from.
    Raises:
        WeightError: it is no finite number from 0; names the site and where the value came from.
    """
    try:
        weight = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not math.isfinite(weight) or weight < 0:
        raise WeightError(f"{site}: {source} is {value!r}; a weight is a finite number from 0")
    return weight
