"""Agreement of the sites before the first tree, on columns, bins and base score, which are found from sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flare_xgb.data import DataError, Schema, agree
from flare_xgb.engine.cuts import Cuts, numeric_edges
from flare_xgb.horizontal.exponents import largest_powers
from flare_xgb.horizontal.learning import Learning
from flare_xgb.horizontal.refinement import Distinct, Refinement
from flare_xgb.horizontal.sums import Actions, SiteSums
from flare_xgb.objectives import Objective
from flare_xgb.objectives.quantiles import between, ranks_of, unit_of, weighted_rank
from flare_xgb.objectives.sums import Sums

_FEATURES_AT_ONCE = 128  # whose values are counted in one message of up to some megabytes


@dataclass(frozen=True, eq=False)
class Setup:
    """Columns, bins and base score of all sites.

    Attributes:
        schema: the columns.
        firsts: by site, the number of rows of the sites before it.
        unit: of weights, which are counted as integers; None if all weights are 1.
        has_validation: there are rows to validate with.
        cuts: the bins.
        sums: what the objective must know of all rows.
        score: float32 [outputs], the base score as a prediction.
        base: float32 [outputs], the base score as a margin.
    """

    schema: Schema
    firsts: Mapping[str, int]
    unit: float | None
    has_validation: bool
    cuts: Cuts
    sums: Sums
    score: NDArray[np.float32]
    base: NDArray[np.float32]

    def actions(self, site: str) -> Actions:
        """Return the actions with which a site begins."""
        return [
            ("conform", {"schema": self.schema.to_dict()}),
            (
                "begin",
                {"cuts": asdict(self.cuts), "sums": self.sums, "base": self.base, "first": self.firsts[site]},
            ),
        ]

    def to_plain(self) -> dict[str, Any]:
        """Return plain data."""
        return vars(self) | {"schema": self.schema.to_dict(), "cuts": asdict(self.cuts), "firsts": dict(self.firsts)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the setup of such data."""
        parts = {"schema": Schema.from_dict(plain["schema"]), "cuts": Cuts(**plain["cuts"])}
        return cls(**{**plain, **parts})


def describe(sums: SiteSums, order: Sequence[str], *, is_masked: bool) -> tuple[Schema, dict[str, int]]:
    """Return the columns that the sites agree on, and the number of rows of the sites before each.

    Args:
        sums: the sites.
        order: all sites of the run; their rows are taken to lie in this order in one table.
        is_masked: the server learns no number of rows; then each site begins at a row that no other reaches.
    Raises:
        DataError: sites do not fit together, names one and the column; or there are no rows, or no labels.
    """
    plain = sums.describe()
    schemas = {site: Schema.from_dict(each) for site, each in plain.items()}
    schema = agree(schemas)
    if "label" not in schema.columns and "label_lower_bound" not in schema.columns:
        raise DataError(f"the sites have no labels ({', '.join(schemas)}); give the column label")
    firsts, before = {}, 0
    for rank, site in enumerate(order):
        firsts[site] = before if site in schemas and not is_masked else (rank + 1) << 40
        before += schemas[site].rows if site in schemas else 0
    return schema, firsts


def find_setup(sums: SiteSums, schema: Schema, firsts: Mapping[str, int], learning: Learning) -> Setup:
    """Find bins and base score of the rows of all sites."""
    counts = sums.total([("count", {})])
    rows, validation = counts["rows"].tolist()
    (largest,) = largest_powers(counts["weight"])
    unit = unit_of(largest, rows) if "weight" in schema.columns else None
    of_all = sums.total([("base", {})])["base"]
    objective = learning.objective.agreed(of_all)
    score = _base_score(sums, learning.params.base_score, objective, of_all, unit)
    return Setup(
        schema=schema,
        firsts=firsts,
        unit=unit,
        has_validation=validation > 0,
        cuts=find_cuts(sums, schema, learning.params.tree.max_bin, unit),
        sums=of_all,
        score=score,
        base=objective.to_margin(score),
    )


def answer(sums: SiteSums, refinement: Refinement, action: str, arguments: Mapping[str, Any]) -> list[Distinct]:
    """Ask the sites until a refinement is done, and return its result."""
    while not refinement.is_done:
        question = refinement.wanted()
        refinement.refine(sums.total([(action, {**arguments, "question": question})])["counts"])
    return refinement.result()


def find_cuts(sums: SiteSums, schema: Schema, max_bin: int, unit: float | None) -> Cuts:
    """Return the bins that :meth:`Cuts.from_data` makes of the rows of all sites.

    A feature with at most ``max_bin`` distinct values has XGBoost's own bins. Otherwise edges lie at the exact ranks
    that divide the weight into ``max_bin`` equal parts: the error of their rank is that of no more than one value.
    """
    edges: list[Any] = [len(schema.categories.get(feature, ())) for feature in range(schema.width)]
    numeric = [feature for feature, kind in enumerate(schema.types) if kind != "c"]
    for start in range(0, len(numeric), _FEATURES_AT_ONCE):
        some = numeric[start : start + _FEATURES_AT_ONCE]
        ask = partial(answer, sums, action="values")
        ends = ask(Refinement([None] * len(some), most_distinct=max_bin), arguments={"features": some, "unit": unit})
        many = [
            (feature, each) for feature, each in zip(some, ends, strict=True) if len(each.values) and not each.is_all
        ]
        ranks = [_equal_parts(each, max_bin) for _, each in many]
        inner = ask(Refinement(ranks), arguments={"features": [feature for feature, _ in many], "unit": unit})
        for feature, each in zip(some, ends, strict=True):
            edges[feature] = numeric_edges(each.values, each.weights.astype(np.float64), max_bin)
        for (feature, each), middle, wanted in zip(many, inner, ranks, strict=True):
            (_, last), minimum = numeric_edges(each.values[[0, -1]], np.ones(2), max_bin)
            chosen = np.unique(np.concatenate([middle.at(wanted), each.values[-1:]]))
            edges[feature] = np.append(chosen[: max_bin - 1], last), minimum
    return Cuts.from_edges(edges)


def _equal_parts(ends: Distinct, max_bin: int) -> NDArray[np.int64]:
    """Return the ranks of the edges of a feature with many values, by XGBoost's rule for a summary of them."""
    first, last = float(ends.weights[0]), float(ends.below[-1])
    return np.floor(np.arange(1, max_bin) * (last - first) / max_bin + first).astype(np.int64)


def _base_score(
    sums: SiteSums, given: tuple[float, ...] | None, objective: Objective, of_all: Sums, unit: float | None
) -> NDArray[np.float32]:
    if given is not None:
        return np.broadcast_to(np.array(given, np.float32), (objective.outputs,)).copy()
    quantiles = None
    if objective.label_quantiles:
        ask = partial(answer, sums, action="labels", arguments={"unit": unit})
        quantiles = np.array([find_quantiles(ask, 1, alpha, unit)[0] for alpha in objective.label_quantiles])
    return objective.base_score(of_all, quantiles)


def find_quantiles(
    ask: Callable[[Refinement], list[Distinct]], groups: int, alpha: float, unit: float | None
) -> NDArray[np.float32]:
    """Return a quantile of the numbers of each group, float32 [groups]; NaN for a group without numbers or weight.

    Args:
        ask: has the sites count the numbers.
        groups: the number of groups.
        alpha: in [0, 1].
        unit: of the weights; None if all are 1.
    """
    chosen: list[tuple[int, int, float] | None] = []

    def ranks(totals: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        for total in totals.tolist():
            if not total:
                chosen.append(None)
            elif unit is None:
                chosen.append(ranks_of(total, alpha))
            else:
                rank = weighted_rank(total, unit, alpha)
                chosen.append((rank, rank, 0.0))
        return [np.array([] if each is None else each[:2], np.int64) for each in chosen]

    found = ask(Refinement(ranks, groups, steps=(11, 11, 10)))
    quantiles = np.full(groups, np.nan, np.float32)
    for group, (each, of_group) in enumerate(zip(chosen, found, strict=True)):
        if each is not None:
            low, high = of_group.at(np.array(each[:2]))
            quantiles[group] = between(low, high, each[2])
    return quantiles
