"""A real run and a simulated one with the same seed and the recorded speeds agree on every decision."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
from tree_devices import Counted

from flare_edge import (
    DeviceManagerConfig,
    EdgeFedBuffRecipe,
    EvaluatorConfig,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge.fedbuff import FedBuffSettings, replay
from flare_edge.virtual import History, NoTraining, Simulation, read_record
from flare_runtime import SimEnv

NUMBER = (1 << 32) - 1  # of a ticket in the life of its server


def decisions_of(lines):
    """Return the decisions of a record that decide anything, without weights and metrics."""
    found = []
    for line in map(json.loads, lines):
        if line["call"] == "decide":
            each, version = line["decisions"], line["decisions"]["version"]
            decision = {
                "orders": [{**order, "ticket": order["ticket"] & NUMBER} for order in each["orders"]],
                "withdrawn": [ticket & NUMBER for ticket in each["withdrawn"]],
                "version": version and [version["version"], version["factors"], counts_of(version)],
                "dropped": each["dropped"],
            }
            found += [decision] if any(decision.values()) else []
    return found


def counts_of(version):
    return {base: count for base, (count, _) in version["sums"].items()}


def test_real_and_simulated_runs_agree_on_every_decision_when_speeds_are_replayed(tmp_path):
    recipe = EdgeFedBuffRecipe(
        job_name="counted",
        model={"w": np.arange(4, dtype=np.float32), "b": np.zeros((2, 3), np.float64)},
        model_manager_config=ModelManagerConfig(
            max_num_active_model_versions=None,
            max_model_version=20,
            update_timeout=0.05,
            num_updates_for_model=5,
            max_model_history=None,
            staleness_weight=True,
        ),
        device_manager_config=DeviceManagerConfig(device_selection_size=20),
        evaluator_config=EvaluatorConfig(eval_frequency=3, num_devices=4),
        simulation_config=SimulationConfig(Counted(), num_devices=20, num_workers=10),
        tree={"site-1": ["site-2", "site-3"]},
    )
    run = recipe.execute(SimEnv(num_clients=4, workspace_root=tmp_path))
    real = (run.get_result() / "server" / "inputs.jsonl").read_text().splitlines()
    assert replay(real) >= 20

    begin = json.loads(real[0])
    settings = FedBuffSettings.from_data(begin["settings"])
    at_once = replace(settings, models=replace(settings.models, update_timeout=0))  # the record has the waits
    simulated = io.StringIO()
    Simulation(at_once, read_record(real), NoTraining(), seed=begin["seed"], record=simulated).run()
    expected = decisions_of(real)
    assert sum(1 for each in expected if each["version"]) == 20
    assert decisions_of(simulated.getvalue().splitlines()) == expected

    history = History.of_record(real)
    assert [each.version for each in history.versions] == list(range(1, 21))
    assert sorted(history.evaluations) == [3, 6, 9, 12, 15, 18, 20]
