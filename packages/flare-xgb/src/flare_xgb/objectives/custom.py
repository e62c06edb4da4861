"""Losses of which only a function for the gradients is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flare_core import FlareError
from flare_xgb.objectives.base import Float32s, Gradients, Objective, Rows, Together
from flare_xgb.objectives.regression import SquaredError
from flare_xgb.objectives.sums import Sums, exact_sums


@dataclass(frozen=True)
class Custom(Objective):
    """Gradients by a function; everything else as another objective has it, the quantiles of leaves included.

    The base score is 0.5 if none is given. In both it follows XGBoost.

    Args:
        function: is called with margins, (n,) or (n, outputs), and with rows, of which it reads labels and weights, and
            returns first and second derivatives in the shape of the margins. It multiplies by the weights itself.
        base: makes predictions of margins, and is what a saved model names.
        together: which rows the function must see together; see :class:`Objective`.
    """

    function: Callable[[Float32s, Rows], tuple[Any, Any]]
    base: Objective = field(default_factory=SquaredError)
    together: Together = "nothing"

    @property
    def name(self) -> str:  # type: ignore[override]  # an instance's, and there a class's
        """The name of the other objective."""
        return self.base.name

    @property
    def default_metric(self) -> str:
        return self.base.default_metric

    @property
    def outputs(self) -> int:
        return self.base.outputs

    @property
    def leaf_quantiles(self) -> tuple[float, ...]:
        return self.base.leaf_quantiles

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        """Return what the function returns, as float32.

        Args:
            margins: (n, outputs).
            rows: labels and weights.
            round: the number of rounds before this one, which the function is not told.
        Raises:
            FlareError: it returned another shape, or a number that is not finite.
        """
        given = self.function(margins[:, 0] if self.outputs == 1 else margins, rows)
        parts = []
        for name, part in zip(("first", "second"), given, strict=True):
            part = np.asarray(part, np.float32)
            if part.size != margins.size:
                raise FlareError(
                    f"the gradient function returned {part.shape} {name} derivatives for {margins.shape} margins"
                )
            if not np.isfinite(part).all():
                raise FlareError(f"the gradient function returned a {name} derivative that is NaN or infinite")
            parts.append(np.ascontiguousarray(part.reshape(margins.shape)))
        return parts[0], parts[1]

    def check(self, rows: Rows) -> None:
        """Accept all labels: the function knows which it needs."""

    def base_sums(self, rows: Rows) -> Sums:
        """Return no sums: the base score does not depend on the rows."""
        return exact_sums()

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        """Return 0.5 for each output."""
        return np.full(self.outputs, 0.5, np.float32)

    def to_margin(self, score: Float32s) -> Float32s:
        return self.base.to_margin(score)

    def transform(self, margins: Float32s) -> Float32s:
        return self.base.transform(margins)

    def transform_for_metrics(self, margins: Float32s) -> Float32s:
        return self.base.transform_for_metrics(margins)

    def config(self) -> dict[str, Any]:
        return self.base.config()

    def metric_parameters(self) -> Mapping[str, Any]:
        return self.base.metric_parameters()
