"""A device's loop against a gateway over TLS."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from gateways import batch_of
from one_gateway import Root

from flare_edge.device.__main__ import main
from flare_edge.device.client import Client
from flare_edge.device.data import clusters
from flare_edge.device.filters import clip_to_norm
from flare_edge.device.programs import initial_params, program_from, training_from
from flare_edge.device.run import Done, run_device
from flare_edge.device.work import Answer, ProgramWork
from flare_edge.errors import EdgeError
from flare_edge.fedbuff import DeviceManagerConfig, EvaluatorConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.settings import GatewaySettings
from flare_edge.messages import Order

CONFIG = {"program": {"kind": "mlp", "layers": [4, 6, 3]}, "lr": 0.1, "epochs": 2, "batch_size": 16, "seed": 3}
PARAMS = initial_params(CONFIG, 0)


def settings(versions: int, *, devices: int = 1, evaluators: int = 0) -> FedBuffSettings:
    return FedBuffSettings(
        models=ModelManagerConfig(num_updates_for_model=devices, max_model_version=versions, max_update_norm=100.0),
        devices=DeviceManagerConfig(device_selection_size=devices),
        evaluation=EvaluatorConfig(num_devices=evaluators) if evaluators else None,
    )


@pytest.fixture
def gateway(tmp_path):
    with_scale = settings(1).models.scale
    gateway = Gateway("gw-1", tmp_path, GatewaySettings(), with_scale, CONFIG, update_timeout_s=0.05)
    gateway.start()
    yield gateway
    gateway.close()


def test_a_device_makes_the_model_that_its_program_makes(gateway):
    examples = clusters(60, inputs=4, classes=3, seed=1)
    with Root(gateway, PARAMS, settings(5)) as root, Client.join(gateway.join_link) as client:
        done = run_device(client, ProgramWork(examples))
    program = program_from(CONFIG)
    expected = PARAMS
    for version in range(5):
        expected = program.train(expected, examples, training_from(CONFIG), version)
    assert done == Done(trained=5)
    for name, value in expected.items():
        np.testing.assert_allclose(root.versions[-1][name], value, atol=1e-5)
    assert root.metrics[0] == pytest.approx(program.evaluate(PARAMS, examples), abs=1e-6)


def test_devices_make_their_weighted_mean(gateway):
    """Two devices, of which one has twice the examples."""
    data = {"a": clusters(40, inputs=4, classes=3, seed=1), "b": clusters(80, inputs=4, classes=3, seed=2)}

    def work(name: str) -> None:
        with Client.join(gateway.join_link, name=name) as client:
            run_device(client, ProgramWork(data[name]))

    with Root(gateway, PARAMS, settings(1, devices=2), devices=2) as root:
        threads = [threading.Thread(target=work, args=(name,)) for name in data]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    program, how = program_from(CONFIG), training_from(CONFIG)
    first, second = (program.train(PARAMS, examples, how, version=0) for examples in data.values())
    for name in PARAMS:
        np.testing.assert_allclose(root.versions[1][name], (40 * first[name] + 80 * second[name]) / 120, atol=1e-6)


def test_evaluation_orders_are_done(gateway):
    with Root(gateway, PARAMS, settings(2, evaluators=1)) as root, Client.join(gateway.join_link) as client:
        done = run_device(client, ProgramWork(clusters(30, inputs=4, classes=3, seed=1)))
    assert root.is_over.is_set()
    assert done.trained == 2
    assert done.evaluated >= 1


def test_filters_of_the_owner_are_applied_to_what_leaves(gateway):
    with Root(gateway, PARAMS, settings(1)) as root, Client.join(gateway.join_link) as client:
        run_device(client, ProgramWork(clusters(30, inputs=4, classes=3, seed=1)), filters=[clip_to_norm(0.01)])
    moved = np.concatenate([(root.versions[1][name] - PARAMS[name]).ravel() for name in PARAMS])
    assert np.linalg.norm(moved) == pytest.approx(0.01, rel=1e-4)


class Failing:
    """Work that does not do."""

    def train(self, params, task) -> Answer:
        raise ValueError("no more battery")

    evaluate = train


def test_work_that_fails_is_told_to_the_gateway_and_to_the_caller(gateway):
    gateway.set_model(0, PARAMS)
    with Client.join(gateway.join_link) as client:
        gateway.give([Order(1, "gw-1", client.device, 0)])
        with pytest.raises(ValueError, match="no more battery"):
            run_device(client, Failing())
    assert batch_of(gateway).failed == {1: "ValueError: no more battery"}


class Withdrawn:
    """Work during which the gateway withdraws the task, and the run ends."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.work = ProgramWork(clusters(30, inputs=4, classes=3, seed=1))

    def train(self, params, task) -> Answer:
        self.gateway.withdraw([task.ticket])
        self.gateway.finish()
        return self.work.train(params, task)

    evaluate = train


def test_a_task_that_was_withdrawn_does_not_end_the_device(gateway):
    with Root(gateway, PARAMS, settings(1)), Client.join(gateway.join_link) as client:
        assert run_device(client, Withdrawn(gateway)) == Done()


def test_a_device_that_was_not_let_in_says_why(gateway):
    with pytest.raises(EdgeError, match="invitation"):
        Client.join(gateway.join_link.replace("#", "#x"))


def test_the_command_joins_trains_and_ends_with_the_run(gateway, tmp_path, capsys):
    path = tmp_path / "data.csv"
    examples = clusters(30, inputs=4, classes=3, seed=1)
    np.savetxt(path, np.column_stack([examples.inputs, examples.targets]), fmt="%g", delimiter=",")
    with Root(gateway, PARAMS, settings(2)):
        assert main([gateway.join_link, "--csv", str(path), "--clip", "1", "--noise", "0.001"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("version 0: train, 30 examples  loss ")
    assert printed.endswith("trained 2 times, evaluated 0 times\n")


def test_the_command_says_what_is_wrong_with_a_file(gateway, tmp_path, capsys):
    path = tmp_path / "data.csv"
    path.write_text("1,2,x\n3,4,y\n")
    assert main([gateway.join_link, "--csv", str(path)]) == 1
    assert "'y' is not a number" in capsys.readouterr().err


def test_examples_are_made_up_to_rehearse(gateway, capsys):
    with Root(gateway, PARAMS, settings(1)):
        assert main([gateway.join_link, "--generate", "1", "--rows", "20"]) == 0
    assert "20 examples" in capsys.readouterr().out
