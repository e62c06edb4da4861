"""Objective: what a round of boosting needs to know of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from flare_core import FlareError
from flare_xgb.objectives.sums import Sums, exact_sums, total

Float32s = NDArray[np.float32]
Gradients = tuple[Float32s, Float32s]
Together = Literal["nothing", "groups", "site"]


class LabelError(FlareError, ValueError):
    """Labels, weights or groups that an objective or a metric cannot work with."""


class Rows(Protocol):
    """The columns of a table that objectives and metrics read; a ``Table`` has them, and ``Targets`` nothing else."""

    @property
    def label(self) -> Float32s | None:
        """(n,)."""

    @property
    def weight(self) -> Float32s | None:
        """(n,), or one for each group if there is a ``qid``; None means 1."""

    @property
    def qid(self) -> NDArray[np.int64] | None:
        """(n,), never falling; rows of equal value are a group of a ranking."""

    @property
    def label_lower_bound(self) -> Float32s | None:
        """(n,), of the times of a censored regression."""

    @property
    def label_upper_bound(self) -> Float32s | None:
        """(n,), of the times of a censored regression."""

    @property
    def group_starts(self) -> NDArray[np.int64]:
        """(groups + 1,), the first row of each group and the number of rows; [0, n] without ``qid``."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Rows without features.

    Args:
        label: (n,).
        weight: (n,), or one for each group if there is a ``qid``; None means 1.
        qid: (n,), never falling; rows of equal value are a group of a ranking.
        label_lower_bound: (n,), of the times of a censored regression.
        label_upper_bound: (n,).
    """

    label: Float32s | None = None
    weight: Float32s | None = None
    qid: NDArray[np.int64] | None = None
    label_lower_bound: Float32s | None = None
    label_upper_bound: Float32s | None = None

    @property
    def group_starts(self) -> NDArray[np.int64]:
        """(groups + 1,), the first row of each group and the number of rows; [0, n] without ``qid``."""
        some = self.label if self.label is not None else self.label_lower_bound
        n = len(some) if some is not None else 0
        if self.qid is None:
            return np.array([0, n], np.int64)
        changes = np.flatnonzero(np.diff(self.qid)) + 1
        return np.unique(np.concatenate(([0], changes, [n]))).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the rows' gradients: \\|g\\| ≤ ``gradient`` and 0 ≤ h ≤ ``hessian``."""

    gradient: float
    hessian: float

    @classmethod
    def measured(cls, gradients: Gradients) -> Bounds:
        """Return the least powers of two that bound these gradients; 0 if they are all 0.

        Powers of two say no more of the rows than the exponent, and serve a fixed point as well as the values.
        """
        return cls(*(_power_of_two(float(np.abs(each).max(initial=0))) for each in gradients))

    def __or__(self, other: Bounds) -> Bounds:
        """Return bounds of the rows of both."""
        pairs = ((self.gradient, other.gradient), (self.hessian, other.hessian))
        return Bounds(*(float(np.maximum(*pair)) for pair in pairs))  # NaN if one is


class Objective(ABC):
    """A loss, by XGBoost's name.

    A round grows ``outputs`` trees, the k-th on the k-th column of the gradients. Margins are the sums of leaves, base
    score and base margin; predictions are what :meth:`transform` makes of them.

    Arithmetic is XGBoost's: float32, with the C library's functions.

    A federation keeps the sums of gradients from overflowing by a scale that it derives from bounds of all rows. They
    are known beforehand if :meth:`bounds` returns some; the bounds of all sites are the sites' joined by ``|``. Else no
    bound holds for all rounds, as a margin may go anywhere, and each round measures its own before its first histogram:
    ``Bounds.measured`` of every site, joined by ``|``, is the same for any deal of the rows.

    Attributes:
        name: XGBoost's.
        together: the rows that must be in one place for the gradients to be right: ``nothing`` if a row's gradient
            depends on the row alone, ``groups`` if rows of a ranking's group, ``site`` if all rows of a site.
    """

    name: ClassVar[str]
    together: Together = "nothing"

    @property
    @abstractmethod
    def default_metric(self) -> str:
        """The name of the metric that XGBoost uses if none is given."""

    @property
    def outputs(self) -> int:
        """The number of trees of a round."""
        return 1

    @property
    def leaf_quantiles(self) -> tuple[float, ...]:
        """Empty, or for each output which quantile of residuals replaces the value of a leaf.

        Residuals are label − margin before the tree, of the leaf's rows; the quantile times the learning rate is the
        leaf's value. The module ``quantiles`` has the rules.
        """
        return ()

    @property
    def label_quantiles(self) -> tuple[float, ...]:
        """Empty, or the quantiles of all labels that the base score is made of."""
        return ()

    @abstractmethod
    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        """Return the first and second derivatives of the weighted loss by the margins; (n, outputs) as ``margins``.

        Args:
            margins: (n, outputs).
            rows: labels and weights.
            round: the number of trees' rounds before this one; seeds what is drawn.
        """

    def bounds(self, rows: Rows) -> Bounds | None:
        """Return bounds of the gradients of these rows for any margins, or None if there are none."""
        return None

    def check(self, rows: Rows) -> None:
        """Raise if labels are missing or not such as the loss is defined for.

        Raises:
            LabelError: says which labels are needed.
        """
        label = needed(rows.label, "label", self.name)
        if not np.isfinite(label).all():
            raise LabelError(f"{self.name}: a label is NaN or infinite; remove its row")

    def agreed(self, sums: Sums) -> Objective:
        """Return this objective with what its gradients need of all rows: here nothing, so itself.

        Call it once, before the first gradients, with the same sums over all rows as :meth:`base_score`.
        """
        return self

    def base_sums(self, rows: Rows) -> Sums:
        """Return the sums over these rows that the base score of all rows is made of; add them up over the sites."""
        return stump_sums(self, rows)

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        """Return the base score that XGBoost estimates, (outputs,), as a prediction such as users give one.

        Args:
            sums: of :meth:`base_sums`, over all rows.
            quantiles: of all labels, for each of ``label_quantiles``.
        """
        return self.transform_score(stump(sums))

    def to_margin(self, score: Float32s) -> Float32s:
        """Return the margin of a base score, which is a prediction.

        Raises:
            FlareError: there is none, as of a probability of 2.
        """
        return score

    def transform(self, margins: Float32s) -> Float32s:
        """Return predictions, of margins (n, outputs): (n, outputs), or (n,) if there is one for each row."""
        return self.transform_score(margins[:, 0] if self.outputs == 1 else margins)

    def transform_score(self, margins: Float32s) -> Float32s:
        """Return the prediction of each margin, elementwise."""
        return margins

    def transform_for_metrics(self, margins: Float32s) -> Float32s:
        """Return what metrics compare with the labels: mostly predictions."""
        return self.transform(margins)

    def config(self) -> dict[str, Any]:
        """Return the entry ``objective`` of the learner in XGBoost's JSON."""
        return {"name": self.name}

    def metric_parameters(self) -> Mapping[str, Any]:
        """Return the parameters of this objective that its default metric shares, by XGBoost's names."""
        return {}


def needed(column: Float32s | None, name: str, objective: str) -> Float32s:
    """Return a column that must be there.

    Raises:
        LabelError: it is not.
    """
    if column is None:
        raise LabelError(f"{objective} needs the column {name}, and the data have none")
    return column


def labels_of(rows: Rows) -> Float32s:
    """Return the labels, (n, 1)."""
    return needed(rows.label, "label", "this objective")[:, None]


def weights_of(rows: Rows) -> Float32s:
    """Return the weights of the rows, (n, 1).

    Raises:
        LabelError: weights are of groups, which only rankings can use.
    """
    n = int(rows.group_starts[-1])
    if rows.weight is None:
        return np.ones((n, 1), np.float32)
    if len(rows.weight) != n:
        raise LabelError(f"{len(rows.weight)} weights are given for {n} rows; weights of groups are for rankings")
    return rows.weight[:, None]


def largest_weight(rows: Rows) -> float:
    """Return the largest weight, at least the smallest normal float32."""
    if rows.weight is None:
        return 1.0
    return float(rows.weight.max(initial=np.finfo(np.float32).tiny))


def mean_sums(rows: Rows) -> Sums:
    """Return the sums of weighted labels and of weights."""
    label, weight = labels_of(rows), weights_of(rows)
    return exact_sums(label.astype(np.float64) * weight, weight)


def stump_sums(objective: Objective, rows: Rows) -> Sums:
    """Return the sums of the gradients of each output, then of the second derivatives, where all margins are 0."""
    n = int(rows.group_starts[-1])
    gradient, hessian = objective.gradients(np.zeros((n, objective.outputs), np.float32), rows)
    return exact_sums(*gradient.T, *hessian.T)


def stump(sums: Sums) -> Float32s:
    """Return the margins of a tree without splits, of sums of gradients: (outputs,)."""
    gradient, hessian = np.split(total(sums), 2)
    return (-gradient / np.maximum(hessian, EPSILON)).astype(np.float32)


def text(number: float) -> str:
    """Return a parameter as XGBoost writes it in a model: a float32 with nine digits."""
    return f"{np.float32(number):.9g}"


EPSILON = float(np.float32(1e-6))
"""XGBoost's ``kRtEps``."""


def _power_of_two(x: float) -> float:
    if x == 0 or not np.isfinite(x):
        return x
    mantissa, exponent = np.frexp(x)
    return float(np.ldexp(1.0, int(exponent) - (mantissa == 0.5)))
