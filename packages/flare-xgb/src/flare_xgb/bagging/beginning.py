"""The beginning of a training of whole trees: what the sites agree on before the first one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Federation
from flare_core.task import Sample
from flare_xgb.data import Schema, agree
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import loss_of
from flare_xgb.horizontal.refinement import Distinct, Refinement
from flare_xgb.horizontal.setup import find_quantiles
from flare_xgb.objectives import Objective
from flare_xgb.objectives.quantiles import unit_of
from flare_xgb.objectives.sums import Sums
from flare_xgb.params import parse


@dataclass(frozen=True, eq=False)
class Beginning:
    """The columns, sums and model that a training begins with.

    Attributes:
        schema: the columns.
        sums: over the rows of all sites, of what the objective needs of them.
        model: without trees.
    """

    schema: Schema
    sums: Sums
    model: Model


def begin(fed: Federation, sample: Sample, xgb_params: Mapping[str, Any]) -> Beginning:
    """Compare the columns of the sites, and find the base score of the rows of all.

    Raises:
        DataError: sites do not fit together; names one and the column.
    """
    with fed.scatter("describe", {site: rank_of(fed, site) for site in sample}, quorum=sample.quorum) as asked:
        replies = {reply.site: reply.data for reply in asked}
    schema = agree({site: Schema.from_dict(each["schema"]) for site, each in replies.items()})
    params = parse(xgb_params, schema.names or schema.width)
    objective, score = loss_of(params), params.base_score
    sums = np.sum([each["sums"] for each in replies.values() if "sums" in each], axis=0)
    if score is None:
        base = objective.base_score(sums, _label_quantiles(fed, replies, objective))
    else:
        base = np.broadcast_to(np.array(score, np.float32), (objective.outputs,)).copy()
    objective.to_margin(base)  # refuses one that has none
    model = Model(
        loss=objective.config(),
        base_score=base,
        features=schema.width,
        num_class=params.loss.num_class,
        num_parallel_tree=params.num_parallel_tree,
        names=schema.names,
        types=schema.types if schema.names or "c" in schema.types else (),
        attributes={"schema": schema.to_text()},
    )
    return Beginning(schema, sums, model)


def rank_of(fed: Federation, site: str) -> dict[str, Any]:
    """Return the part of every task that says which site it is for."""
    return {"rank": fed.sites.index(site)}


def _label_quantiles(fed: Federation, described: Mapping[str, Any], objective: Objective) -> NDArray[np.float32] | None:
    """Find the quantiles of all labels from counts, if the base score is made of them; all sites must answer."""
    if not objective.label_quantiles:
        return None
    largest = max(each["largest_weight"] for each in described.values())
    rows = sum(each["schema"]["rows"] for each in described.values())
    unit = None if math.isnan(largest) else unit_of(largest, rows)

    def ask(refinement: Refinement) -> list[Distinct]:
        while not refinement.is_done:
            question = {"question": refinement.wanted(), "unit": unit}
            with fed.scatter("count", {site: rank_of(fed, site) | question for site in described}) as asked:
                refinement.refine(np.sum([reply.data["counts"] for reply in asked], axis=0))
        return refinement.result()

    return np.array([find_quantiles(ask, 1, alpha, unit)[0] for alpha in objective.label_quantiles])
