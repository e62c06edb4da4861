"""One of the measured jobs, each started by `compare.py` in a separate process."""

import sys

import numpy as np

from flare_core import robust
from flare_core.components import Component
from flare_recipes_np import (
    CrossSiteEvalRecipe,
    CyclicRecipe,
    FedAvgRecipe,
    FedEvalRecipe,
    FedOptRecipe,
    ScaffoldRecipe,
    SwarmLearningRecipe,
)
from flare_runtime import SimEnv


class RepeatedFedEvalRecipe(FedEvalRecipe):
    def _workflow(self):
        return Component("parts.Repeated", {"workflow": super()._workflow(), "times": total})


class RepeatedCrossSiteEvalRecipe(CrossSiteEvalRecipe):
    def _workflow(self):
        return Component("parts.Repeated", {"workflow": super()._workflow(), "times": total})


def optimizer(name, **args):
    return {"optimizer_args": {"class_path": f"flare_core.optimizers.{name}", "args": args}}


name, folder = sys.argv[1:3]
sites, tensors, items, rounds, lots, go, done = map(int, sys.argv[3:])
total = rounds * lots
trained = {"num_rounds": total, "key_metric": None}
one = {**trained, "min_clients": 1, "clients_per_round": 1}
recipe_class, arguments = {
    "fedavg": (FedAvgRecipe, trained),
    "again": (FedAvgRecipe, trained),
    "double": (FedAvgRecipe, trained),
    "one": (FedAvgRecipe, one),
    "quorum": (FedAvgRecipe, {**trained, "quorum": sites}),
    "sgd": (FedOptRecipe, {**trained, **optimizer("SGD", lr=1.0, momentum=0.6)}),
    "adam": (FedOptRecipe, {**trained, **optimizer("Adam")}),
    "scaffold": (ScaffoldRecipe, trained),
    "cyclic": (CyclicRecipe, {"num_rounds": total}),
    "fedeval": (RepeatedFedEvalRecipe, {}),
    "crosssite": (RepeatedCrossSiteEvalRecipe, {}),
    "swarm": (SwarmLearningRecipe, trained),
    "median": (FedAvgRecipe, {**trained, "aggregator": robust.CoordinateMedian()}),
    "trimmed": (FedAvgRecipe, {**trained, "aggregator": robust.TrimmedMean(0.2)}),
    "krum": (FedAvgRecipe, {**trained, "aggregator": robust.Krum(attackers=1)}),
}[name.removesuffix("-fetched")]
count = 2 * tensors if name == "double" else tensors
model = {f"layer-{number}": np.zeros(items, np.float32) for number in range(count)}
recipe = recipe_class(
    **{"name": name, "min_clients": sites, "initial_model": model, "train_script": "client.py", **arguments}
)
recipe.add_server_component("gate", {"class_path": "parts.Gate", "args": {"rounds": rounds, "go": go, "done": done}})
recipe.execute(SimEnv(num_clients=sites, workspace_root=folder)).get_result()
