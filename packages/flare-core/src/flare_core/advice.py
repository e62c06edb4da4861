"""Warnings about settings and replies that are valid but rarely intended."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from flare_core.aggregation import WeightedMean
from flare_core.errors import RecipeError
from flare_core.model import FLModel, flatten, key_text

_LOWER_IS_BETTER = {"loss", "error", "err", "mse", "rmse", "mae", "mape", "nll"}
_LOWER_IS_BETTER |= {"perplexity", "ppl", "wer", "cer", "fid"}
_HIGHER_IS_BETTER = {"accuracy", "acc", "auc", "auroc", "f1", "precision", "recall", "sensitivity", "dice", "iou", "r2"}
_NEGATED = {"neg", "negative", "negated", "minus", "inverse", "inv"}  # as in scikit-learn's neg_mean_squared_error
_SPREAD = {"std", "stddev", "var", "variance", "gap", "drop", "difference", "diff"}
"""Common words in the names of metrics, reduced to letters."""


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
