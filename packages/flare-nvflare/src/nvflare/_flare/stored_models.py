"""Cross-site evaluation of models in files at the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import flare_recipes_np
from flare_core import Executor, FLModel, SiteContext, Task, TrainingFederation
from flare_core.components import Component
from flare_core.task import Sample
from flare_core.workflows import CrossSiteEval


class StoredModels(CrossSiteEval):
    """Evaluate models in files of NumPy's at every site.

    Args:
        files: the paths of the files, by the names of the models.
        min_clients: how many sites must take part.
    """

    def __init__(self, *, files: Mapping[str, str], min_clients: int) -> None:
        super().__init__(min_clients=min_clients, models=["sites"])
        self.files = dict(files)

    def _candidates(self, fed: TrainingFederation, sites: Sample) -> Iterator[tuple[str, FLModel]]:
        for name, file in self.files.items():
            yield f"SRV_{name}", FLModel(params={"numpy_key": np.load(file, allow_pickle=False)})


class SumOfShares(Executor):
    """Measures a model without any data: the sum of its values, each as a share of the largest; for trying things."""

    def execute(self, task: Task, context: SiteContext) -> FLModel:
        values = np.asarray((task.model.params or {})["numpy_key"])
        return FLModel(metrics={"accuracy": float(np.sum(values / np.max(values)))})


@dataclass(kw_only=True, eq=False, repr=False)
class StoredEvalRecipe(flare_recipes_np.FedEvalRecipe):
    """Evaluation of models in files, by a script.

    Args:
        files: the paths of the files, by the names of the models.
    """

    files: Mapping[str, str]

    def _check(self) -> None:
        self.initial_model = {}
        super()._check()

    def _workflow(self) -> Component:
        args: dict[str, Any] = {"min_clients": self.min_clients, "files": dict(self.files)}
        return Component("nvflare._flare.stored_models.StoredModels", args)
