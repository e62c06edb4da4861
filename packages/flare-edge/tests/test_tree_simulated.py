"""Runs in the simulator, with simulated devices at the gateways."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tree_devices import Broken, Counted, CountedWork, PairMask, Prepared, Pretending, rounds

from flare_core import JobFailed
from flare_edge import (
    DeviceManagerConfig,
    EdgeFedBuffRecipe,
    EvaluatorConfig,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge.device.client import Client, RunOver
from flare_edge.fedbuff.record import replay
from flare_edge.gateway.prepare import prepare_gateway
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


def test_devices_cannot_say_how_many_updates_a_version_has(tmp_path):
    recipe = EdgeFedBuffRecipe(
        model=MODEL,
        model_manager_config=ModelManagerConfig(max_model_version=1, num_updates_for_model=2),
        device_manager_config=DeviceManagerConfig(device_selection_size=2),
        simulation_config=SimulationConfig(Pretending(), num_devices=2),
    )
    run = recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path))
    assert (rows(run, "updates"), rows(run, "staleness"), rows(run, "round")) == ({0: 2.0}, {0: 0.0}, {0: 900.0})


def rows(run, key: str) -> dict[int, float]:
    return {row["round"]: row["value"] for row in run.metrics() if row["key"] == key}


def test_devices_evaluate_some_versions_and_the_best_is_saved(tmp_path):
    recipe = synchronous(6, 5, 2, evaluator_config=EvaluatorConfig(eval_frequency=2, num_devices=2))
    run = recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path))
    evaluated = rows(run, "evaluate/accuracy")
    expected = [float(rounds(MODEL, range(6), version)["w"][0]) for version in (2, 4, 5)]
    wanted = {1: expected[0], 3: expected[1], 4: expected[2]}  # each with the round that made the version
    assert evaluated == pytest.approx(wanted, abs=1e-7)
    assert same_bits(run.load_model("best"), rounds(MODEL, range(6), 5))


def test_a_function_at_the_server_chooses_the_best_version(tmp_path):
    recipe = synchronous(
        6,
        5,
        2,
        evaluator_config=EvaluatorConfig(function="tree_devices.first_value"),
        custom_source_root=Path(__file__).parent,
    )
    run = recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path))
    values = [float(rounds(MODEL, range(6), version)["w"][0]) for version in range(1, 6)]
    best = min(range(5), key=lambda at: abs(values[at] - 1.0))
    assert 0 < best < 4
    assert rows(run, "accuracy") == {at: -abs(value - 1.0) for at, value in enumerate(values)}
    assert same_bits(run.load_model("best"), rounds(MODEL, range(6), best + 1))


def test_without_an_evaluation_devices_that_train_choose_the_best_version(tmp_path):
    run = synchronous(6, 3, 2, key_metric_mode="min").execute(SimEnv(num_clients=2, workspace_root=tmp_path))
    assert same_bits(run.load_model("best"), MODEL)  # measured while it was trained
    found = synchronous(6, 3, 2).execute(SimEnv(num_clients=2, workspace_root=tmp_path)).load_model("best")
    assert same_bits(found, rounds(MODEL, range(6), 2))  # nobody has measured the last one


def test_a_server_optimizer_keeps_its_momentum_across_versions(tmp_path):
    optimizer = {"class_path": "flare_core.optimizers.SGD", "args": {"lr": 1.0, "momentum": 0.5}}
    run = synchronous(6, 3, 2, optimizer_args=optimizer).execute(SimEnv(num_clients=2, workspace_root=tmp_path))
    weights = [number % 3 + 1 for number in range(6)]
    value, momentum = 0.0, 0.0
    for version in range(3):
        mean = sum(w * CountedWork.value(n, version) for n, w in enumerate(weights)) / sum(weights)
        momentum = 0.5 * momentum + mean
        value += momentum
    assert np.allclose(np.array(run.load_model()["b"]), value, rtol=1e-12)


def test_a_task_processor_is_told_of_the_start_and_the_end_of_a_run(tmp_path):
    recipe = EdgeFedBuffRecipe(
        job_name="told",
        model=MODEL,
        model_manager_config=ModelManagerConfig(max_model_version=1, num_updates_for_model=2),
        device_manager_config=DeviceManagerConfig(device_selection_size=2),
        simulation_config=SimulationConfig(Prepared(str(tmp_path / "notes")), num_devices=2, num_workers=2),
        device_config={"lr": 0.5},
    )
    recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path))
    assert (tmp_path / "notes").read_text().splitlines() == ["start told {'lr': 0.5}", "work 0", "work 1", "stop"]


def test_masks_of_gateways_cancel_in_the_sum(tmp_path):
    run = synchronous(6, 3, 2, sum_filters=[PairMask()]).execute(SimEnv(num_clients=2, workspace_root=tmp_path))
    assert same_bits(run.load_model(), rounds(MODEL, range(6), 3))


def test_a_run_without_devices_fails_with_a_sentence(tmp_path):
    recipe = EdgeFedBuffRecipe(
        model=MODEL,
        model_manager_config=ModelManagerConfig(max_model_version=2, num_updates_for_model=2),
        device_manager_config=DeviceManagerConfig(device_selection_size=2),
        device_wait_timeout=0.2,
    )
    with pytest.raises(
        JobFailed, match=r"no device works: 0 are there.*0\.2 s \(device_wait_timeout\): let more devices join"
    ):
        recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path))


def test_an_error_of_a_simulated_device_fails_the_run(tmp_path):
    recipe = EdgeFedBuffRecipe(
        model=MODEL,
        model_manager_config=ModelManagerConfig(max_model_version=2, num_updates_for_model=2),
        device_manager_config=DeviceManagerConfig(device_selection_size=2),
        simulation_config=SimulationConfig(Broken(), num_devices=2, num_workers=2),
    )
    with pytest.raises(JobFailed, match="EdgeSite at site-1 failed: ArithmeticError: no such data"):
        recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path))


def test_a_tree_with_a_name_that_is_no_site_is_refused(tmp_path):
    with pytest.raises(JobFailed, match="the tree names 'gw-9', which is no site of this run: site-1, site-2"):
        synchronous(2, 1, 1, tree={"site-1": ["gw-9"]}).execute(SimEnv(num_clients=2, workspace_root=tmp_path))


def test_devices_over_https_are_told_that_the_run_is_over_and_the_port_is_closed(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = prepare_gateway(tmp_path / "local" / "site-1", listen=f"127.0.0.1:{port}")
    recipe = EdgeFedBuffRecipe(
        model=MODEL,
        model_manager_config=ModelManagerConfig(
            max_num_active_model_versions=1, max_model_version=3, num_updates_for_model=3, update_timeout=0.2
        ),
        device_manager_config=DeviceManagerConfig(device_selection_size=3, min_hole_to_fill=3),
    )
    with ThreadPoolExecutor(3) as pool:
        devices = [pool.submit(trained, link, number) for number in range(3)]
        run = recipe.execute(SimEnv(num_clients=1, workspace_root=tmp_path))
        assert [each.result(60) for each in devices] == [3, 3, 3]
    assert same_bits(run.load_model(), rounds(MODEL, range(3), 3))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def trained(link: str, number: int) -> int:
    """Train as a device until the run is over; return how often."""
    done, work = 0, CountedWork(number)
    with Client.join(link, name=f"device-{number}", patience_s=60.0) as client:
        while True:
            try:
                task = client.next_task()
            except RunOver:
                return done
            if task is not None:
                answer = work.train(client.model(task.version), task)
                done += client.send_update(
                    task.ticket, answer.update, num_examples=answer.num_examples, metrics=answer.metrics
                )
