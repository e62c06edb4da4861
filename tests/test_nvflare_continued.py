"""Controllers of NVIDIA FLARE go on after their server's process was killed, or say that they begin again."""

from __future__ import annotations

import json
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from flare_tensor_downloader import read_file
from nvflare._host.jobs import load_job_folder

pytestmark = [pytest.mark.slow, pytest.mark.deployed]

NAMES = "nvflare.app_common"
ROUNDS = 4
COMPONENTS = {
    "persistor": (f"{NAMES}.np.np_model_persistor.NPModelPersistor", {"model": [1.0, 2.0]}),
    "shareable_generator": (
        f"{NAMES}.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator",
        {},
    ),
    "aggregator": (
        f"{NAMES}.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator",
        {"expected_data_kind": "WEIGHTS"},
    ),
}
EVALUATION = {
    "locator": (f"{NAMES}.np.np_model_locator.NPModelLocator", {}),
    "json_generator": (f"{NAMES}.widgets.validation_json_generator.ValidationJsonGenerator", {}),
    "starts": ("own.Starts", {}),
}
CODE = '''
    import os
    import socket

    from flare_core import FLModel
    from nvflare.apis.controller_spec import Task
    from nvflare.apis.dxo import DXO, DataKind, from_shareable
    from nvflare.apis.event_type import EventType
    from nvflare.apis.executor import Executor
    from nvflare.apis.fl_component import FLComponent
    from nvflare.apis.fl_constant import FLContextKey
    from nvflare.apis.impl.controller import Controller
    from nvflare.app_common.app_constant import AlgorithmConstants, AppConstants
    from nvflare.app_common.workflows.base_fedavg import BaseFedAvg


    class Trainer(Executor):
        """Doubles the model and adds the site's number; in one round it asks the gate before it does."""

        def __init__(self, gate, gated_round):
            super().__init__()
            self.gate, self.gated_round = gate, gated_round

        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            site = fl_ctx.get_identity_name()
            number = shareable.get_header(AppConstants.CURRENT_ROUND)
            total = shareable.get_header(AppConstants.NUM_ROUNDS)
            assert total in (None, 4), total
            if number == self.gated_round:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(self.gate)
                    connection.sendall(f"{site} {os.getpid()}".encode())
                    connection.recv(1)
            given, meta = from_shareable(shareable), {}
            trained = {key: value * 2 + int(site[-1]) for key, value in given.data.items()}
            if (controls := given.meta.get(AlgorithmConstants.SCAFFOLD_CTRL_GLOBAL)) is not None:
                trained = {key: value + controls[key] for key, value in trained.items()}
                changes = {key: value * 3 + int(site[-1]) for key, value in controls.items()}
                meta[AlgorithmConstants.SCAFFOLD_CTRL_DIFF] = changes
            return DXO(DataKind.WEIGHTS, trained, meta).to_shareable()


    class Follows(BaseFedAvg):
        def run(self):
            model = self.load_model()
            model.start_round, model.total_rounds = self.start_round, self.num_rounds
            for self.current_round in range(self.start_round, self.start_round + self.num_rounds):
                model.current_round = self.current_round
                results = self.send_model_and_wait(targets=self.sample_clients(2), data=model)
                model = self.update_model(model, self.aggregate(results))
                self.save_model(model)


    class Counts(BaseFedAvg):
        def run(self):
            model = self.load_model()
            for self.current_round in range(self.num_rounds):
                model.current_round, model.total_rounds = self.current_round, self.num_rounds
                results = self.send_model_and_wait(targets=self.sample_clients(2), data=model)
                model = self.update_model(model, self.aggregate(results))
                self.save_model(model)


    class Misleads(BaseFedAvg):
        def run(self):
            model = self.load_model()
            model.start_round = self.start_round
            for self.current_round in range(4):
                model.current_round, model.total_rounds = self.current_round, 4
                results = self.send_model_and_wait(targets=self.sample_clients(2), data=model)
                model = self.update_model(model, self.aggregate(results))
                self.save_model(model)


    class Own(Controller):
        """Keeps its rounds to itself, or does not even name them."""

        def __init__(self, names_rounds=True):
            super().__init__()
            self.names_rounds = names_rounds

        def start_controller(self, fl_ctx):
            assert os.path.isdir(fl_ctx.get_prop(FLContextKey.APP_ROOT))
            self.persistor = self._engine.get_component("persistor")
            self.weights = self.persistor.load(fl_ctx)

        def stop_controller(self, fl_ctx):
            pass

        def control_flow(self, abort_signal, fl_ctx):
            for number in range(4):
                data = DXO(DataKind.WEIGHTS, dict(self.weights["weights"])).to_shareable()
                if self.names_rounds:
                    data.set_header(AppConstants.CURRENT_ROUND, number)
                    data.set_header(AppConstants.NUM_ROUNDS, 4)
                found = []
                take = lambda client_task, fl_ctx: found.append(from_shareable(client_task.result).data["numpy_key"])
                name = "gated" if number == 2 else "train"
                self.broadcast_and_wait(Task(name, data, result_received_cb=take), fl_ctx, min_responses=2)
                self.weights["weights"]["numpy_key"] = sum(found) / len(found)
                self.persistor.save(self.weights, fl_ctx)
                fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self.weights, private=True, sticky=True)
                self.fire_event("_after_learnable_persist", fl_ctx)


    class GatedTrainer(Trainer):
        """Asks the gate in the task of that name."""

        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            if task_name == "gated" and self.gate:
                shareable.set_header(AppConstants.CURRENT_ROUND, self.gated_round)
            return super().execute(task_name, shareable, fl_ctx, abort_signal)


    class Starts(FLComponent):
        def handle_event(self, event_type, fl_ctx):
            if event_type == EventType.START_RUN:
                folder = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
                with open(os.path.join(folder, "starts.txt"), "a") as file:
                    file.write("started ")


    class Evaluator(Trainer):
        """Asks the gate when it evaluates a model."""

        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            if task_name != "validate":
                self.kept = super().execute(task_name, shareable, fl_ctx, abort_signal)
                return self.kept
            if self.gate:
                shareable.set_header(AppConstants.CURRENT_ROUND, self.gated_round)
            score = float(from_shareable(shareable).data["numpy_key"].sum())
            super().execute(task_name, shareable, fl_ctx, abort_signal)
            return DXO(DataKind.METRICS, {"sum": score}).to_shareable()
'''


@dataclass
class Done:
    """What came of a job."""

    state: str
    reason: str
    model: list[float]
    summary: dict
    events: list[dict]
    scores: dict
    starts: int


def write_job(folder: Path, path: str, args: dict, gate: str = "", trainer: str = "own.Trainer") -> Path:
    config = folder / "app" / "config"
    config.mkdir(parents=True)
    (folder / "app" / "custom").mkdir()
    (folder / "app" / "custom" / "own.py").write_text(textwrap.dedent(CODE))
    components = {**COMPONENTS, **(EVALUATION if trainer == "own.Evaluator" else {})}
    server = {
        "workflows": [{"id": "rounds", "path": path, "args": args}],
        "components": [{"id": name, "path": path, "args": args} for name, (path, args) in components.items()],
    }
    gated_round = 2
    if trainer == "own.Evaluator":
        gated_round = ROUNDS  # after the last one
        path = f"{NAMES}.workflows.cross_site_model_eval.CrossSiteModelEval"
        args = {"model_locator_id": "locator", "submit_model_task_name": ""}
        server["workflows"].append({"id": "evaluation", "path": path, "args": args})
    executor = {"path": trainer, "args": {"gate": gate, "gated_round": gated_round if gate else -1}}
    client = {"executors": [{"tasks": ["*"], "executor": executor}]}
    meta = {"name": folder.name, "min_clients": 2, "deploy_map": {"app": ["@ALL"]}}
    for file, content in (
        (folder / "meta.json", meta),
        (config / "config_fed_server.json", server),
        (config / "config_fed_client.json", client),
    ):
        file.write_text(json.dumps(content))
    return folder


def outcome(place, job_id: str) -> Done:
    found, _ = place.result(job_id)
    folder = place.folder / "results" / job_id
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    file = folder / "server" / "global_model.safetensors"
    (scores,) = [json.loads(file.read_text()) for file in folder.rglob("cross_val_results.json")] or [{}]
    starts = "".join(file.read_text() for file in folder.rglob("starts.txt")).split()
    model = read_file(file)["numpy_key"].tolist() if file.is_file() else []
    summary = json.loads((folder / "summary.json").read_text())
    return Done(found["state"], found["reason"] or "", model, summary, events, scores, len(starts))


def undisturbed_and_killed(place, tmp_path: Path, path: str, args: dict, **options) -> tuple[Done, Done]:
    """Run a job twice; in the second run, kill the server's process of the job while site-1 is at the gate."""
    with place.admin() as admin:
        whole = admin.submit(load_job_folder(write_job(tmp_path / "whole", path, args, **options)))["id"]
    undisturbed = outcome(place, whole)
    first = threading.Event()

    def decide(site, pid, times):
        if site == "site-1" and times == 1:
            first.set()
            threading.Event().wait(30)  # until it is killed

    gate = place.gate(decide)
    with place.admin() as admin:
        job = write_job(tmp_path / "killed", path, args, gate=str(gate.path), **options)
        killed = admin.submit(load_job_folder(job))["id"]
    assert first.wait(30)
    place.strike("server job")
    return undisturbed, outcome(place, killed)


def rounds_of(done: Done) -> list[int]:
    return [event["round"] for event in done.events if event["event"] == "RoundEnded"]


@pytest.mark.parametrize(
    ("path", "args"),
    [
        (f"{NAMES}.workflows.scatter_and_gather.ScatterAndGather", {"min_clients": 2, "persistor_id": "persistor"}),
        ("own.Follows", {"num_clients": 2}),
        *(
            pytest.param(f"{NAMES}.workflows.{name}", args, marks=pytest.mark.at_length)
            for name, args in [
                ("cyclic_ctl.CyclicController", {}),
                ("fedavg.FedAvg", {"num_clients": 2}),
                ("cyclic.Cyclic", {"num_clients": 2}),
                ("scaffold.Scaffold", {"num_clients": 2}),
            ]
        ),
    ],
)
def test_a_controller_goes_on_after_its_last_round(hospital, tmp_path, path, args):
    args = {"num_rounds": ROUNDS, **args}
    undisturbed, killed = undisturbed_and_killed(hospital(), tmp_path, path, args)
    assert (undisturbed.state, killed.state) == ("finished", "finished"), killed.reason
    assert killed.model == undisturbed.model
    assert rounds_of(killed) == rounds_of(undisturbed) == [0, 1, 2, 3]
    assert killed.summary["rounds"] == ROUNDS
    lost = [text for text in killed.summary["warnings"] if "was lost" in text]
    assert len(lost) == (path == "own.Follows")  # whose own attributes nobody knows


@pytest.mark.parametrize(
    ("path", "args", "rounds"),
    [
        ("own.Own", {}, ROUNDS),
        pytest.param("own.Own", {"names_rounds": False}, 0, marks=pytest.mark.at_length),
        pytest.param("own.Counts", {"num_rounds": ROUNDS, "num_clients": 2}, ROUNDS, marks=pytest.mark.at_length),
    ],
)
def test_a_controller_with_a_state_of_its_own_begins_again_and_says_so(hospital, tmp_path, path, args, rounds):
    trainer = "own.GatedTrainer" if "names_rounds" in args else "own.Trainer"
    undisturbed, killed = undisturbed_and_killed(hospital(), tmp_path, path, args, trainer=trainer)
    assert (undisturbed.state, killed.state) == ("finished", "finished"), killed.reason
    assert killed.model == undisturbed.model
    assert killed.summary["rounds"] == undisturbed.summary["rounds"] == rounds
    assert rounds_of(killed) == list(range(rounds))
    again = [text for text in killed.summary["warnings"] if "begins again at its first round, since" in text]
    assert len(again) == 1
    assert any(event["event"] == "WarningRaised" and again[0] in event.values() for event in killed.events)
    assert not undisturbed.summary["warnings"]


def test_a_controller_that_only_seems_to_go_on_fails_the_run(hospital, tmp_path):
    undisturbed, killed = undisturbed_and_killed(
        hospital(), tmp_path, "own.Misleads", {"num_rounds": ROUNDS, "num_clients": 2}
    )
    assert (undisturbed.state, killed.state) == ("finished", "failed")
    assert "continued with round 2, but the controller sent the task of round 0" in killed.reason


def test_a_later_workflow_begins_again_without_the_one_before(hospital, tmp_path):
    args = {"min_clients": 2, "num_rounds": ROUNDS, "persistor_id": "persistor"}
    path = f"{NAMES}.workflows.scatter_and_gather.ScatterAndGather"
    undisturbed, killed = undisturbed_and_killed(hospital(), tmp_path, path, args, trainer="own.Evaluator")
    assert (undisturbed.state, killed.state) == ("finished", "finished"), killed.reason
    assert killed.scores == undisturbed.scores
    assert sorted(killed.scores) == ["site-1", "site-2"]
    assert (undisturbed.starts, killed.starts) == (1, 2)  # of processes; components prepare themselves in each
    assert rounds_of(killed) == rounds_of(undisturbed) == [0, 1, 2, 3]
    assert (killed.model, killed.summary["warnings"]) == (undisturbed.model, [])
