"""Warnings about settings and replies that are allowed but seldom intended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from flare_core.aggregation import WeightedMean
from flare_core.errors import RecipeError
from flare_core.model import FLModel, MetaKey, flatten, key_text
from flare_core.task import Reply

__all__ = ["WeightsSeen", "direction_warning", "mean_warnings"]

_LOWER_IS_BETTER = {"loss", "error", "err", "mse", "rmse", "mae", "mape", "nll"}
_LOWER_IS_BETTER |= {"perplexity", "ppl", "wer", "cer", "fid"}
_HIGHER_IS_BETTER = {"accuracy", "acc", "auc", "auroc", "f1", "precision", "recall", "sensitivity", "dice", "iou", "r2"}
_TURNED = {"neg", "negative", "negated", "minus", "inverse", "inv"}  # as of scikit-learn's neg_mean_squared_error
_SPREAD = {"std", "stddev", "var", "variance", "gap", "drop", "difference", "diff"}
_STEPS = {"numsteps", "numstepscurrentround", "steps", "numsamples", "nsamples", "samples", "numexamples", "examples"}
"""Words in common names of metrics; and common names of entries of ``meta``, reduced to their letters."""


def direction_warning(metric: str, mode: str, setting: str) -> str | None:
    """Return a warning if the name of a metric suggests that it improves in the other direction, else None.

    Args:
        metric: its name.
        mode: ``max`` if higher is taken to be better, ``min`` if lower.
        setting: the setting that says so, for the message.
    """
    words = set(re.findall(r"[a-z]+[0-9]*", re.sub(r"([a-z])([A-Z])", r"\1 \2", metric).lower()))
    if words & (_TURNED | _SPREAD):  # then the name does not tell the direction
        return None
    suggested = "min" if words & _LOWER_IS_BETTER else "max" if words & _HIGHER_IS_BETTER else mode  # dice_loss: min
    if suggested == mode:
        return None
    better = "higher" if mode == "max" else "lower"
    return f"{setting} takes {better} values of '{metric}' to be better; is it the other way round?"


def mean_warnings(mean: WeightedMean, model: FLModel) -> Iterator[str]:
    """Yield warnings about a mean that excludes keys which the model does not have, or rounds all that it makes.

    Args:
        mean: the aggregator.
        model: the global model.
    Raises:
        RecipeError: it excludes all of the model's keys.
    """
    values = {key_text(key): value for key, value in flatten(model.params or {})}
    excluded = [name for name in values if mean.excludes(name)]
    if excluded and len(excluded) == len(values):
        raise RecipeError(
            f"exclude_vars is {mean.exclude!r}, which excludes all {len(values)} keys of the model, so nothing would be"
            " learned; name fewer"
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
        yield "the model holds integers only, so every mean is rounded; start from floating-point numbers"


class WeightsSeen:
    """Watches which sites state the weight of their contributions, since others count as a single step."""

    def __init__(self) -> None:
        self._said: tuple[str, float] | None = None  # by whom, and how much, where it was not 1
        self._silent: str | None = None

    def warnings(self, reply: Reply) -> Iterable[str]:
        """Take a reply, and yield warnings about its weight."""
        meta = reply.model.meta
        if MetaKey.NUM_STEPS_CURRENT_ROUND in meta:
            if reply.num_steps not in (0, 1):
                self._said = self._said or (reply.site, reply.num_steps)
        else:
            self._silent = self._silent or reply.site
            for name in meta:
                if re.sub("[^a-z]", "", str(name).lower()) in _STEPS:
                    yield (
                        f"meta['{name}'] of the replies is not read; the weight of a contribution is"
                        f" meta['{MetaKey.NUM_STEPS_CURRENT_ROUND}']"
                    )
        if self._said is not None and self._silent is not None:
            site, steps = self._said
            yield (
                f"{self._silent} sends no meta['{MetaKey.NUM_STEPS_CURRENT_ROUND}'] and counts as 1 step, beside"
                f" {site} with {steps:g}; have all sites send it, or none"
            )
