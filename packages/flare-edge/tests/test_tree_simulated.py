"""Runs in the simulator, with simulated devices at the gateways."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tree_devices import Counted, rounds

from flare_edge import DeviceManagerConfig, EdgeFedBuffRecipe, ModelManagerConfig, SimulationConfig
from flare_edge.fedbuff.record import replay
from flare_runtime import SimEnv

MODEL = {"w": np.arange(4, dtype=np.float32), "b": np.zeros((2, 3), np.float64)}


def synchronous(devices: int, versions: int, gateways: int, **arguments) -> EdgeFedBuffRecipe:
    return EdgeFedBuffRecipe(
        job_name="counted",
        model=MODEL,
        model_manager_config=ModelManagerConfig(
            max_num_active_model_versions=1, max_model_version=versions, num_updates_for_model=devices
        ),
        device_manager_config=DeviceManagerConfig(device_selection_size=devices, min_hole_to_fill=devices),
        simulation_config=SimulationConfig(Counted(), num_devices=devices // gateways, num_workers=3),
        **arguments,
    )


def same_bits(found, expected) -> bool:
    return all(np.array(found[name]).tobytes() == value.tobytes() for name, value in expected.items())


@pytest.mark.parametrize(
    ("sites", "tree"), [(2, None), (3, {"site-1": ["site-2", "site-3"]})], ids=["flat", "by way of an inner node"]
)
def test_synchronous_rounds_give_the_bits_of_the_formula(tmp_path, sites, tree):
    recipe = synchronous(20, 3, 2, tree=tree)
    run = recipe.execute(SimEnv(num_clients=sites, workspace_root=tmp_path))
    assert same_bits(run.load_model(), rounds(MODEL, range(20), 3))
    folder = run.get_result()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rounds"] == 3
    assert {row["value"] for row in run.metrics() if row["key"] == "updates"} == {20.0}
    assert run.load_model("best") is not None
    with (folder / "server" / "inputs.jsonl").open() as lines:
        assert replay(lines) >= 4
