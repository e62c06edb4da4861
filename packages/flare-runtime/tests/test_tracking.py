"""Receivers write the values of a run to trackers, and a tracker that fails never ends a run."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import trackers

from flare_core import JobError, ObservedRun, Observer, RecipeError, RunStatus
from flare_core.components import Component
from flare_core.events import EventBus, MetricLogged, RoundEnded, RunEnded, RunStarted
from flare_core.recipes import add_experiment_tracking
from flare_runtime.tracking import MLflowReceiver, TensorBoardReceiver, WandBReceiver
from flare_runtime.tracking.mlflow_store import copy_run
from flare_runtime.tracking.receiver import Receiver

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's, of its own use of SQLAlchemy

TRACKED = """
    import numpy as np
    import flare_core.client as flare
    from flare_core.client.tracking import MLflowWriter, SummaryWriter, WandBWriter

    flare.init()
    number = int(flare.get_site_name()[-1])
    tensorboard, mlflow, wandb = SummaryWriter(), MLflowWriter(), WandBWriter()
    mlflow.log_params({"lr": 0.5 * number, "optimizer": "sgd"})
    mlflow.set_tag("ward", f"ward {number}")
    mlflow.log_text("a, b", "notes/columns.txt")
    while flare.is_running():
        model = flare.receive()
        for step in range(2):
            tensorboard.add_scalar("loss", np.float32(number / 2 ** step), 2 * model.current_round + step)
        wandb.log({"rows": 10 * number})
        flare.send(
            flare.FLModel(
                params={"w": model.params["w"] + 1},
                metrics={"accuracy": number + model.current_round},
                meta={"NUM_STEPS_CURRENT_ROUND": number},
            )
        )
"""

FAILS = TRACKED.replace(
    "        wandb.log(",
    """\
        if (number, model.current_round) == (2, 1):
            1 / 0
        wandb.log(""",
)

LOGGED = {
    "site-1/loss": [(0, 1.0), (1, 0.5), (2, 1.0), (3, 0.5)],
    "site-2/loss": [(0, 2.0), (1, 1.0), (2, 2.0), (3, 1.0)],
    "site-1/rows": [(0, 10.0), (1, 10.0)],
    "site-2/rows": [(0, 20.0), (1, 20.0)],
    "site-1/accuracy": [(0, 1.0), (1, 2.0)],
    "site-2/accuracy": [(0, 2.0), (1, 3.0)],
}
MEANS = {"accuracy": [(0, pytest.approx(5 / 3)), (1, pytest.approx(8 / 3))]}  # weights 1 and 2
SETTINGS = {
    "site-1/lr": "0.5",
    "site-2/lr": "1.0",
    "site-1/optimizer": "sgd",
    "site-2/optimizer": "sgd",
    "site-1/ward": "ward 1",
    "site-2/ward": "ward 2",
}


def tracked(project, receiver: str, *, script: str = TRACKED, server: bool = True, client: bool = False, **arguments):
    """A job with a receiver at the server, at each site, or both."""
    args = arguments.pop("args", {})
    job = project.job(script, **arguments)
    component = Component(f"flare_runtime.tracking.{receiver}", args)
    if server:
        job.server.components["tracking"] = component
    if client:
        job.client.components["tracking"] = component
    return job


def of_site(values: dict, site: str) -> dict:
    return {name: each for name, each in values.items() if name.startswith(f"{site}/")}


@pytest.fixture
def quiet_mlflow(monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return pytest.importorskip("wandb")


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_tensorboard_has_every_number_and_text_of_the_sites_and_the_averages(project, external):
    pytest.importorskip("tensorboard")
    run = project.env().deploy(tracked(project, "TensorBoardReceiver", launch_external_process=external))
    found = trackers.tensorboard(run.get_result() / "server" / "tensorboard")
    texts = {f"{site}/notes/columns.txt": [(0, "a, b")] for site in ("site-1", "site-2")}
    assert found == {**LOGGED, **MEANS, **texts, **{name: [(0, text)] for name, text in SETTINGS.items()}}


def test_tensorboard_can_have_a_folder_for_each_site(project):
    pytest.importorskip("tensorboard")
    run = project.env().deploy(tracked(project, "TensorBoardReceiver", args={"by_site": True}))
    place = run.get_result() / "server" / "tensorboard"
    assert sorted(each.name for each in place.iterdir()) == ["server", "site-1", "site-2"]
    assert trackers.tensorboard(place / "server") == MEANS
    assert trackers.hyperparameters(place / "server")[2] == "finished"
    for site in ("site-1", "site-2"):
        found = trackers.tensorboard(place / site)
        assert {f"{site}/{name}" for name in found} == {
            *of_site(LOGGED, site), *of_site(SETTINGS, site), f"{site}/notes/columns.txt"
        }  # fmt: skip
        assert found["loss"] == LOGGED[f"{site}/loss"]


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_each_site_can_have_its_own_files(project, external):
    pytest.importorskip("tensorboard")
    job = tracked(project, "TensorBoardReceiver", client=True, server=False, launch_external_process=external)
    folder = project.env(num_threads=1, share_processes=True).deploy(job).get_result()
    assert not (folder / "server" / "tensorboard").exists()
    for site in ("site-1", "site-2"):
        found = trackers.tensorboard(folder / "sites" / site / "tensorboard")
        assert set(found) == {*of_site(LOGGED, site), *of_site(SETTINGS, site), f"{site}/notes/columns.txt"}
        assert {**found, **of_site(LOGGED, site)} == found


def test_receivers_can_run_at_the_server_and_the_sites(project):
    pytest.importorskip("tensorboard")
    folder = project.env().deploy(tracked(project, "TensorBoardReceiver", client=True)).get_result()
    for place in ("server", "sites/site-1", "sites/site-2"):
        assert trackers.tensorboard(folder / place / "tensorboard")


def test_mlflow_has_metrics_parameters_tags_and_texts(project, quiet_mlflow):
    args = {"run_name": "first", "run_tags": {"team": "a"}, "experiment_name": "wards"}
    folder = project.env().deploy(tracked(project, "MLflowReceiver", args=args)).get_result()
    assert folder.is_dir()
    found = trackers.MLflow(project.folder / "runs", "wards")
    assert {name: found.metric(name) for name in found.run.data.metrics} == {**LOGGED, **MEANS}
    of_sites = {name: text for name, text in found.run.data.params.items() if "/" in name}
    assert of_sites == {name: text for name, text in SETTINGS.items() if "ward" not in name}
    assert found.run.data.tags.items() >= {"site-2/ward": "ward 2", "team": "a"}.items()
    assert found.text("site-1/notes/columns.txt") == "a, b"
    assert (found.run.info.status, found.run.info.run_name) == ("FINISHED", "first")


def test_mlflow_at_the_sites_writes_to_a_store_of_each(project, quiet_mlflow):
    job = tracked(project, "MLflowReceiver", client=True, server=False)
    folder = project.env(num_threads=1, share_processes=True).deploy(job).get_result()
    for site in ("site-1", "site-2"):
        found = trackers.MLflow(folder / "sites" / site / "mlflow")
        assert {name: found.metric(name) for name in found.run.data.metrics} == of_site(LOGGED, site)
        assert (found.run.info.status, found.run.info.run_name) == ("FINISHED", f"job/{folder.name} {site}")


def test_several_runs_can_use_one_mlflow_store(project, quiet_mlflow, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/shared.db"
    args = {"tracking_uri": uri, "artifact_location": (tmp_path / "texts").as_uri()}
    for _ in range(2):
        project.env().deploy(tracked(project, "MLflowReceiver", args=args)).get_result()
    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("job").experiment_id])
    assert [each.data.metrics["site-2/accuracy"] for each in found] == [3.0, 3.0]


def test_runs_of_a_workspace_are_distinct_in_one_mlflow_store(project, quiet_mlflow):
    from mlflow import MlflowClient

    folders = [
        project.env().deploy(tracked(project, "MLflowReceiver", rounds=rounds)).get_result() for rounds in (1, 2)
    ]
    client = MlflowClient(tracking_uri=f"sqlite:///{project.folder}/runs/mlflow.db")
    found = {
        each.info.run_name: each for each in client.search_runs([client.get_experiment_by_name("job").experiment_id])
    }
    assert sorted(found) == [f"job/{folder.name}" for folder in folders]
    parameters = [found[f"job/{folder.name}"].data.params for folder in folders]
    assert [each["num_rounds"] for each in parameters] == ["1", "2"]
    assert [each["recipe"] for each in parameters] == ["flare_core.workflows.FedAvg"] * 2
    assert [each["min_clients"] for each in parameters] == ["2", "2"]
    assert {each.data.tags["flare.folder"] for each in found.values()} == {str(folder) for folder in folders}


def test_runs_that_share_an_id_are_distinct_in_mlflow(quiet_mlflow, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/shared.db"
    for place in ("one", "two"):  # workspaces in which a run began in the same second
        (tmp_path / place).mkdir()
        events = EventBus()
        MLflowReceiver(tracking_uri=uri).attach(
            ObservedRun("job", "job/1", None, tmp_path / place, events, pytest.fail)
        )
        events.emit(MetricLogged("accuracy", 0.5, 0, None))
        events.emit(RunEnded("finished"))
    client = MlflowClient(tracking_uri=uri)
    assert len(client.search_runs([client.get_experiment_by_name("job").experiment_id])) == 2


def test_two_runs_write_to_one_mlflow_store_at_once(quiet_mlflow, tmp_path):
    from mlflow import MlflowClient

    warnings, buses = [], []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        buses.append(EventBus())
        run = ObservedRun(
            "job", f"job/{number}", None, tmp_path / str(number), buses[-1], warnings.append, workspace=tmp_path
        )
        MLflowReceiver().attach(run)
    for step in range(50):
        for events in buses:
            events.emit(MetricLogged("loss", 1.0, 0, "site-1", step))
    for events in buses:
        events.emit(RunEnded("finished"))
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("job").experiment_id])
    assert [len(client.get_metric_history(each.info.run_id, "site-1/loss")) for each in found] == [50, 50]
    assert warnings == []


def test_a_servers_record_is_copied_to_the_store_of_the_workspace(observed, quiet_mlflow, tmp_path):
    from mlflow import MlflowClient

    for number in range(2):
        folder = tmp_path / "runs" / "job" / str(number)
        (folder / "server").mkdir(parents=True)
        events = EventBus()
        run = ObservedRun(
            "job", str(number), None, folder / "server", events, pytest.fail, {"arguments": {"lr": number}}
        )
        MLflowReceiver().attach(run)
        events.emit(MetricLogged("accuracy", 0.5, 0, None))
        events.emit(MetricLogged("accuracy", 0.75, 1, None))
        events.emit(MetricLogged("notes.txt", "a, b", 0, "site-1", None, "TEXT"))
        events.emit(RunEnded("aborted"))
        assert copy_run(folder, tmp_path / "runs") is None
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("job").experiment_id])
    assert sorted((each.info.run_name, each.data.params["lr"], each.info.status) for each in found) == [
        ("job/0", "0", "KILLED"),
        ("job/1", "1", "KILLED"),
    ]
    for each in found:
        history = client.get_metric_history(each.info.run_id, "accuracy")
        assert sorted((point.step, point.value) for point in history) == [(0, 0.5), (1, 0.75)]
        assert Path(client.download_artifacts(each.info.run_id, "site-1/notes.txt")).read_text() == "a, b"


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_tensorboard_has_the_parameters_and_the_outcome(tmp_path, status):
    pytest.importorskip("tensorboard")
    events = EventBus()
    recipe = {"class": "Recipe", "arguments": {"num_rounds": 3, "lr": 0.5, "is_new": True, "ckpt": None}}
    TensorBoardReceiver().attach(ObservedRun("job", "job/1", None, tmp_path, events, pytest.fail, recipe))
    events.emit(RunEnded(status))
    found = trackers.hyperparameters(tmp_path / "tensorboard")
    assert found == (
        "job/1",
        {"recipe": "Recipe", "num_rounds": 3.0, "lr": 0.5, "is_new": True, "ckpt": "None"},
        status,
    )


def test_wandb_has_the_parameters_and_no_metric_is_lost_to_its_axis(tmp_path, wandb):
    warnings: list[str] = []
    events = EventBus()
    recipe = {"class": "Recipe", "arguments": {"num_rounds": 3}}
    WandBReceiver().attach(ObservedRun("job", "job/1", None, tmp_path, events, warnings.append, recipe))
    events.emit(MetricLogged("step", 0.5, 1, None))
    events.emit(MetricLogged("_loss", 0.25, 1, None))
    events.emit(RunEnded("finished"))
    found = trackers.WandB(tmp_path)
    assert found.values == {"step_": [(1, 0.5)], "loss": [(1, 0.25)]}
    assert found.config.items() >= {"num_rounds": 3, "recipe": "Recipe"}.items()
    assert len(warnings) == 2


def test_wandb_has_a_run_with_one_axis(project, wandb):
    args = {"project": "wards", "config": {"batch": 32}}
    folder = project.env().deploy(tracked(project, "WandBReceiver", args=args)).get_result()
    found = trackers.WandB(folder / "server")
    texts = {f"{site}/notes/columns.txt": [(0, "a, b")] for site in ("site-1", "site-2")}
    assert found.values == {**LOGGED, **MEANS, **texts}
    assert found.config.items() >= {"batch": 32, "site-1/lr": 0.5, "site-2/ward": "ward 2"}.items()
    assert found.exit_code == 0


def test_wandb_at_the_sites_has_a_run_for_each(project, wandb):
    job = tracked(project, "WandBReceiver", client=True, server=False)
    folder = project.env(num_threads=1, share_processes=True).deploy(job).get_result()
    for site in ("site-1", "site-2"):
        found = trackers.WandB(folder / "sites" / site)
        assert {**found.values, **of_site(LOGGED, site)} == found.values
        assert all(name.startswith(f"{site}/") for name in found.values)


@pytest.mark.parametrize("client", [False, True], ids=["at the server", "at the sites too"])
def test_a_run_that_fails_leaves_files_that_can_be_read(project, client):
    pytest.importorskip("tensorboard")
    run = project.env(num_threads=1, share_processes=True).deploy(
        tracked(project, "TensorBoardReceiver", script=FAILS, client=client)
    )
    assert run.get_status() is RunStatus.FAILED
    folder = run.get_result(raise_on_failure=False)
    found = trackers.tensorboard(folder / "server" / "tensorboard")
    assert found["accuracy"] == MEANS["accuracy"][:1]
    assert found["site-2/loss"] == LOGGED["site-2/loss"]
    for site in ("site-1", "site-2") if client else ():  # site-1 may not have had its turn when site-2 fails
        logged = [(row["step"], row["value"]) for row in run.metrics() if (row["site"], row["key"]) == (site, "loss")]
        assert trackers.tensorboard(folder / "sites" / site / "tensorboard")[f"{site}/loss"] == logged


def test_a_run_that_fails_has_failed_in_mlflow_too(project, quiet_mlflow):
    run = project.env().deploy(tracked(project, "MLflowReceiver", script=FAILS))
    assert run.get_status() is RunStatus.FAILED
    found = trackers.MLflow(project.folder / "runs")
    assert found.run.info.status == "FAILED"
    assert found.metric("accuracy") == MEANS["accuracy"][:1]


def test_a_run_that_fails_has_failed_in_wandb_too(project, wandb):
    run = project.env().deploy(tracked(project, "WandBReceiver", script=FAILS))
    found = trackers.WandB(run.get_result(raise_on_failure=False) / "server")
    assert (found.exit_code, found.values["accuracy"]) == (1, MEANS["accuracy"][:1])


def test_an_unreachable_tracking_server_causes_one_warning(project, quiet_mlflow, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        run = project.env().deploy(tracked(project, "MLflowReceiver", args={"tracking_uri": uri}))
    assert run.get_status() is RunStatus.FINISHED
    printed = capsys.readouterr().out
    assert printed.count("warning: ") == 1
    assert f"warning: MLflow: tracking failed (FlareError: no tracking server answers at {uri}" in printed
    assert len(run.metrics()) == 26


def test_a_tracker_that_fails_at_a_site_causes_a_warning_of_that_site(project, capsys):
    pytest.importorskip("tensorboard")
    job = project.job(TRACKED)
    job.client.components["tracking"] = Component("flare_runtime.tracking.TensorBoardReceiver", {"folder": "log.txt"})
    run = project.env().deploy(job)
    assert run.get_status() is RunStatus.FINISHED
    printed = capsys.readouterr().out
    for site in ("site-1", "site-2"):
        assert printed.count(f"warning: {site}: TensorBoard: tracking failed (FileExistsError") == 1


def test_a_package_that_is_not_installed_at_the_server_causes_a_warning(project, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    run = project.env().deploy(tracked(project, "TensorBoardReceiver"))
    assert run.get_status() is RunStatus.FINISHED
    assert "pip install 'flare-runtime[tensorboard]'" in capsys.readouterr().out


class Stubborn(Receiver):
    """A tracker whose writes are delayed or fail as the test demands."""

    tracker, extra = "Stubborn", "none"

    def __init__(self, write=None, close=None) -> None:
        self.calls: list = []
        self._write, self._close = write, close

    def open(self, run):
        self.calls.append("open")

    def write(self, entries):
        self.calls.append([(each.kind, each.name, each.value, each.step) for each in entries])
        if self._write is not None:
            self._write()

    def close(self, end):
        self.calls.append(end.outcome)
        if self._close is not None:
            self._close()


def test_an_unknown_tracker_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(RecipeError, match="tracking_type is 'tensorflow'; use one of mlflow, tensorboard, wandb"):
        add_experiment_tracking(None, "tensorflow")


def test_a_tracker_that_is_not_installed_is_named_with_the_extra_that_brings_it():
    class Elsewhere(Stubborn):
        extra = "a_tracker_of_nobody"

    with pytest.raises(RecipeError, match=r"pip install 'flare-runtime\[a_tracker_of_nobody\]'"):
        Elsewhere.check_installed()


@pytest.fixture
def observed(tmp_path):
    """Attach a receiver to a run of the test, which collects its warnings."""
    warnings: list[str] = []

    def attach(receiver: Observer) -> EventBus:
        events = EventBus()
        receiver.attach(ObservedRun("job", "job/1", None, tmp_path, events, warnings.append))
        events.emit(RunStarted("job", ("site-1",)))
        return events

    attach.warnings = warnings
    return attach


def fail() -> None:
    raise OSError("disk full\nand more")


def test_after_a_failure_nothing_is_written_and_nothing_waits(observed, caplog, monkeypatch):
    monkeypatch.setattr("flare_runtime.tracking.receiver.MOST_WAITING", 2)
    receiver = Stubborn(fail, fail)
    events = observed(receiver)
    for step in range(100):  # more than the queue holds
        events.emit(MetricLogged("loss", 1.0, 0, "site-1", step))
    events.emit(RunEnded("finished"))
    assert len(receiver.calls) == 3
    assert receiver.calls[-1] == "finished"
    assert observed.warnings == [
        "Stubborn: tracking failed (OSError: disk full); the run continues without it",
    ]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.WARNING]


def test_a_failure_is_shown_when_the_round_ends(observed):
    said = threading.Event()

    class Telling(Stubborn):
        def warn(self, text):
            super().warn(text)
            said.set()

    events = observed(Telling(fail))
    events.emit(MetricLogged("loss", 1.0, 0, "site-1"))
    assert said.wait(10)
    assert observed.warnings == []  # it is not the run's thread that knows
    events.emit(RoundEnded(0, 2, 0.1))
    assert len(observed.warnings) == 1
    events.emit(RunEnded("finished"))
    assert len(observed.warnings) == 1


def test_the_run_waits_for_a_slow_tracker_and_says_so(observed, monkeypatch):
    monkeypatch.setattr("flare_runtime.tracking.receiver.PATIENCE_S", 0.01)
    gate = threading.Event()
    receiver = Stubborn(lambda: gate.wait(10))
    events = observed(receiver)
    for step in range(50):
        events.emit(MetricLogged("loss", 1.0, 0, "site-1", step))
    threading.Timer(0.2, gate.set).start()
    events.emit(RunEnded("finished"))
    written = [entry for batch in receiver.calls[1:-1] for entry in batch]
    assert [step for *_, step in written] == list(range(50))
    assert observed.warnings == ["Stubborn: the run is over and waits until everything is written"]


def test_entries_have_a_kind_a_name_and_a_step(observed):
    receiver = Stubborn()
    events = observed(receiver)
    for event in (
        MetricLogged("loss", np.float32(0.5), 3, "site-1"),
        MetricLogged("loss", 2, 3, None, 7),
        MetricLogged("ready", True, None, None, None, "SCALAR"),
        MetricLogged("state", "warm", 3, "site-1"),
        MetricLogged("lr", 0.1, 3, "site-1", None, "PARAMETER"),
        MetricLogged("layers", [3, 4], 3, "site-1", None, "PARAMETER"),
        MetricLogged("who", "me", 3, "site-1", None, "TAG"),
        MetricLogged("line", "a", 3, "site-1", None, "LOG_RECORD"),
        MetricLogged("scan", np.zeros(3), 3, "site-1", None, "IMAGE"),
        MetricLogged("scan", np.zeros(3), 4, "site-1", None, "IMAGE"),
    ):
        events.emit(event)
    events.emit(RunEnded("finished"))
    assert [entry for batch in receiver.calls[1:-1] for entry in batch] == [
        ("number", "site-1/loss", 0.5, 3),
        ("number", "loss", 2.0, 7),
        ("number", "ready", 1.0, 0),
        ("text", "site-1/state", "warm", 3),
        ("parameter", "site-1/lr", 0.1, 3),
        ("parameter", "site-1/layers", "[3, 4]", 3),
        ("tag", "site-1/who", "me", 3),
        ("text", "site-1/line", "a", 3),
    ]
    assert observed.warnings == ["Stubborn: 'site-1/scan' is left out; values of the kind IMAGE are not supported"]


def test_mlflow_keeps_the_first_value_of_a_parameter_and_warns(observed, quiet_mlflow, tmp_path):
    events = observed(MLflowReceiver())
    for value in (0.1, 0.1, 0.2, 0.3):
        events.emit(MetricLogged("lr", value, 0, "site-1", None, "PARAMETER"))
    events.emit(MetricLogged("acc@1 (%)", 0.5, 0, "site-1"))
    events.emit(RunEnded("aborted"))
    found = trackers.MLflow(tmp_path / "mlflow")
    assert found.run.data.params == {"site-1/lr": "0.1"}
    assert found.metric("site-1/acc_1 ___") == [(0, 0.5)]
    assert found.run.info.status == "KILLED"
    refused, renamed = sorted(observed.warnings, reverse=True)
    assert refused.startswith("MLflow: the parameter 'site-1/lr' is left out (Changing param values is not")
    assert renamed.startswith("MLflow: 'site-1/acc@1 (%)' is renamed 'site-1/acc_1 ___'")


def test_a_run_that_continues_in_another_process_continues_in_mlflow(observed, quiet_mlflow, tmp_path):
    for round_ in range(2):
        events = observed(MLflowReceiver())
        events.emit(MetricLogged("accuracy", 0.5 + round_, round_, None))
        events.emit(RunEnded("finished"))
    assert trackers.MLflow(tmp_path / "mlflow").metric("accuracy") == [(0, 0.5), (1, 1.5)]


@pytest.mark.parametrize(
    ("receiver", "args", "message"),
    [
        ("TensorBoardReceiver", {"folder": "../elsewhere"}, r"folder is '\.\./elsewhere'"),
        ("TensorBoardReceiver", {"folder": ""}, "folder is ''"),
        ("TensorBoardReceiver", {"place": "x"}, "unexpected keyword argument 'place'"),
        ("MLflowReceiver", {"tracking_uri": 5}, "tracking_uri is 5"),
        ("MLflowReceiver", {"run_tags": ["a"]}, r"run_tags is \['a'\]"),
        ("WandBReceiver", {"mode": "on"}, "mode is 'on'"),
        ("WandBReceiver", {"run_tags": "a"}, "run_tags is 'a'"),
        ("WandBReceiver", {"config": 1}, "config is 1"),
    ],
)
def test_arguments_of_receivers_are_checked_before_anything_starts(project, receiver, args, message):
    with pytest.raises(JobError, match=message):
        project.env().deploy(tracked(project, receiver, args=args))


def test_receivers_can_be_read_back_into_a_job_folder():
    made = MLflowReceiver(tracking_uri="http://a", run_tags={"a": "b"})
    described = Component.of(made, what="receiver").to_json()
    assert described["args"] == {"tracking_uri": "http://a", "run_tags": {"a": "b"}}
    assert Component.of(WandBReceiver(mode="online"), what="receiver").to_json()["args"] == {"mode": "online"}
    assert Component.of(TensorBoardReceiver(), what="receiver").to_json()["args"] == {}


class Silent(Stubborn):
    """A tracker that stops answering and is given little time."""

    opens_within_s = 0.1
    stalls_after_s = 0.1


@pytest.fixture
def never():
    """An event for which a tracker waits instead of answering; set at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_tracker_that_never_opens_delays_neither_start_nor_end_of_a_run(observed, never, monkeypatch):
    monkeypatch.setattr("flare_runtime.tracking.receiver.PATIENCE_S", 0.01)

    class Unopened(Silent):
        def open(self, run):
            never.wait()

    events = observed(Unopened())
    events.emit(MetricLogged("loss", 1.0, 0, "site-1"))
    events.emit(RunEnded("finished"))
    assert observed.warnings == [
        "Stubborn: no answer for 0.1 s; the run starts, and tracking begins when it answers",
        "Stubborn: it has not accepted everything that was logged, and is given up; the run continues without it, and"
        " metrics.jsonl has all numbers",
    ]


def test_a_tracker_that_stalls_is_given_up_with_one_warning(observed, never, monkeypatch):
    monkeypatch.setattr("flare_runtime.tracking.receiver.MOST_WAITING", 2)
    events = observed(Silent(never.wait))
    for step in range(100):  # more than the queue holds
        events.emit(MetricLogged("loss", 1.0, 0, "site-1", step))
    events.emit(RoundEnded(0, 2, 0.1))
    events.emit(RunEnded("finished"))
    assert observed.warnings == [
        "Stubborn: it has accepted nothing for 0.1 s, and is given up; the run continues without it, and metrics.jsonl"
        " has all numbers",
    ]


def test_a_tracker_that_does_not_close_is_abandoned(observed, never, monkeypatch):
    monkeypatch.setattr("flare_runtime.tracking.receiver.PATIENCE_S", 0.01)

    class Unclosed(Silent):
        def close(self, end):
            never.wait()

    events = observed(Unclosed())
    events.emit(RunEnded("finished"))
    assert observed.warnings[-1].startswith("Stubborn: it has not accepted everything that was logged, and is given up")


@pytest.mark.timeout(120)
def test_an_mlflow_server_that_accepts_and_never_answers_costs_a_run_seconds_only(project, capfd):
    pytest.importorskip("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        folder = project.env().deploy(tracked(project, "MLflowReceiver", args={"tracking_uri": uri})).get_result()
    assert (folder / "metrics.jsonl").read_text().count("loss") == 8
    assert "warning: MLflow: no answer for 15 s; the run starts" in capfd.readouterr().out


@pytest.mark.slow
def test_runs_that_begin_at_once_share_the_store_of_a_new_workspace(tmp_path):
    """MLflow creates the tables of a new database, and fails if two processes do so at the same time."""
    script = f"""
import sys
from pathlib import Path
import mlflow
from flare_runtime.tracking.mlflow_store import MlflowStore, experiment_id

store = MlflowStore.of_workspace(Path({str(tmp_path)!r}))
print("ready", flush=True)
sys.stdin.readline()
with store.opened() as client:
    print(experiment_id(client, "job", store.files.as_uri()))
"""
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    runs = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    ends = [run.communicate(timeout=100) for run in runs]
    assert [out for out, _ in ends] == ["1\n", "1\n"], ends
