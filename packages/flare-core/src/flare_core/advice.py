"""Warnings about settings and replies that are valid but rarely intended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from flare_core.aggregation import WeightedMean
from flare_core.errors import RecipeError
from flare_core.model import FLModel, MetaKey, flatten, key_text
from flare_core.task import Reply

_LOWER_IS_BETTER = {"loss", "error", "err", "mse", "rmse", "mae", "mape", "nll"}
_LOWER_IS_BETTER |= {"perplexity", "ppl", "wer", "cer", "fid"}
_HIGHER_IS_BETTER = {"accuracy", "acc", "auc", "auroc", "f1", "precision", "recall", "sensitivity", "dice", "iou", "r2"}
_NEGATED = {"neg", "negative", "negated", "minus", "inverse", "inv"}  # as in scikit-learn's neg_mean_squared_error
_SPREAD = {"std", "stddev", "var", "variance", "gap", "drop", "difference", "diff"}
_STEPS = {"numsteps", "numstepscurrentround", "steps", "numsamples", "nsamples", "samples", "numexamples", "examples"}
"""Common words in the names of metrics, and common names of entries of ``meta``, reduced to letters."""


def direction_warning(metric: str, mode: str, setting: str) -> str | None:
    """Return a warning if the name of a metric suggests that it improves in the other direction, else None.

    Args:
        metric: the name of the metric.
        mode: the configured direction: ``max`` if higher is better, ``min`` if lower.
        setting: the setting, for the message.
    """
    words = set(re.findall(r"[a-z]+[0-9]*", re.sub(r"([a-z])([A-Z])", r"\1 \2", metric).lower()))
    if words & (_NEGATED | _SPREAD):  # the name does not imply a direction
        return None
    suggested = "min" if words & _LOWER_IS_BETTER else "max" if words & _HIGHER_IS_BETTER else mode  # dice_loss: min
    if suggested == mode:
        return None
    better = "higher" if mode == "max" else "lower"
    return f"{setting} means that {better} values of '{metric}' are better; is it the other way round?"


def mean_warnings(mean: WeightedMean, model: FLModel) -> Iterator[str]:
    """Yield warnings about a mean that excludes unknown keys, or that rounds all of its results.

    Raises:
        RecipeError: the mean excludes all keys of the model.
    """
    values = {key_text(key): value for key, value in flatten(model.params or {})}
    excluded = [name for name in values if mean.excludes(name)]
    if excluded and len(excluded) == len(values):
        raise RecipeError(
            f"exclude_vars is {mean.exclude!r}, which excludes all {len(values)} keys of the model, so nothing would be"
            " learned; exclude fewer"
        )
    if not values:
        return
    if isinstance(mean.exclude, str):
        wrong = [] if excluded else [mean.exclude]
    else:
        wrong = sorted({*(mean.exclude or ())} - {*values})
    if wrong:
        more = ", …" if len(values) > 3 else ""
        known = ", ".join([*values][:3])
        yield f"exclude_vars has {wrong[0]!r}, which excludes nothing; the model's keys are {known}{more}"
    if all(np.asarray(value).dtype.kind in "iub" for value in values.values()):
        yield "the model holds only integers, so every mean is rounded; start from floating-point numbers"


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
