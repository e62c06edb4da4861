"""Job folders as NVIDIA FLARE writes them: they load, run, and are refused with a reason."""

import json
import textwrap

import numpy as np
import pytest
from nvflare_folders import PERSISTOR, TRAINER, write_job
from safetensors.numpy import load_file

from flare_core import JobError, JobFailed
from flare_core.job_folder import export_job, load_job
from flare_runtime import SimEnv
from nvflare._host.jobs import load_job_folder
from nvflare._host.simulator import simulate


def run(job, tmp_path, **env):
    return SimEnv(num_clients=2, workspace_root=tmp_path / "runs", **env).deploy(job)


def test_rounds_of_training_end_with_the_model_in_both_forms(tmp_path):
    done = run(load_job_folder(write_job(tmp_path / "sag")), tmp_path)
    folder = done.get_result()
    assert np.load(folder / "server" / "simulate_job" / "models" / "server.npy").tolist() == [7.0, 8.0]
    assert done.load_model()["numpy_key"].tolist() == [7.0, 8.0]
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 3


def test_a_job_that_was_exported_by_flare_is_the_same_job(tmp_path):
    job = load_job_folder(write_job(tmp_path / "sag"))
    again = load_job(export_job(job, tmp_path / "exported"))
    assert run(again, tmp_path).load_model()["numpy_key"].tolist() == [7.0, 8.0]


SCRIPT = """
    import sys
    import nvflare.client as flare
    from nvflare.app_common.abstract.fl_model import FLModel

    flare.init()
    while flare.is_running():
        model = flare.receive()
        params = {key: value + float(sys.argv[1]) for key, value in model.params.items()}
        flare.send(FLModel(params=params, metrics={"accuracy": float(model.current_round)}))
"""
LAUNCHER = {
    "id": "launcher",
    "path": "nvflare.app_common.launchers.subprocess_launcher.SubprocessLauncher",
    "args": {"script": "python3 -u custom/{app_script} 2"},
}
PIPE = {"id": "pipe", "path": "nvflare.fuel.utils.pipe.file_pipe.FilePipe", "args": {"mode": "PASSIVE"}}


EXECUTORS = {
    "in process": (
        {
            "path": "nvflare.app_common.executors.in_process_client_api_executor.InProcessClientAPIExecutor",
            "args": {"task_script_path": "{app_script}", "task_script_args": "2"},
        },
        [],
    ),
    "launched": (
        {
            "path": "nvflare.app_common.executors.client_api_launcher_executor.ClientAPILauncherExecutor",
            "args": {"launcher_id": "launcher", "pipe_id": "pipe"},
        },
        [LAUNCHER, PIPE],
    ),
    "of 2.9": (
        {
            "path": "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor",
            "args": {"execution_mode": "in_process", "task_script_path": "train.py", "task_script_args": "2"},
        },
        [],
    ),
}


@pytest.mark.parametrize(("executor", "components"), EXECUTORS.values(), ids=EXECUTORS)
def test_scripts_of_all_executors_run_as_those_of_flare(tmp_path, executor, components):
    server = {
        "format_version": 2,
        "workflows": [
            {"path": "nvflare.app_common.workflows.fedavg.FedAvg", "args": {"num_clients": 2, "num_rounds": 2}}
        ],
        "components": [
            {"id": "persistor", "path": PERSISTOR, "args": {"model": [1.0, 2.0]}},
            {
                "id": "model_selector",
                "path": "nvflare.app_common.widgets.intime_model_selector.IntimeModelSelector",
                "args": {"key_metric": "accuracy"},
            },
        ],
    }
    client = {
        "format_version": 2,
        "app_script": "train.py",
        "executors": [{"tasks": ["*"], "executor": executor}],
        "components": components,
    }
    done = run(load_job_folder(write_job(tmp_path / "job", server, client, {"train.py": SCRIPT})), tmp_path)
    assert done.load_model()["numpy_key"].tolist() == [5.0, 6.0]
    assert done.load_model("best")["numpy_key"].tolist() == [3.0, 4.0]


def test_hocon_and_yaml_say_the_same_as_json(tmp_path):
    folder = write_job(tmp_path / "job")
    config = folder / "app" / "config"
    (config / "config_fed_client.json").unlink()
    (config / "config_fed_client.conf").write_text(
        'format_version = 2\nexecutors = [{tasks = ["train"]\nexecutor {path = "'
        + TRAINER["path"]
        + '"\nargs.delta = 2}}]\n'
    )
    (folder / "meta.json").unlink()
    (folder / "meta.yml").write_text("name: job\nmin_clients: 2\ndeploy_map:\n  app: ['@ALL']\n")
    assert run(load_job_folder(folder), tmp_path).load_model()["numpy_key"].tolist() == [7.0, 8.0]


FAULTY = """
    from nvflare.apis.executor import Executor
    from nvflare.apis.fl_constant import ReturnCode
    from nvflare.apis.shareable import make_reply

    class Raises(Executor):
        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            raise RuntimeError("the disk of this site is full")

    class Refuses(Executor):
        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Raises", ["site-", "the disk of this site is full", "faulty.py"]),
        ("Refuses", ["site-", "'train' with EXECUTION_EXCEPTION"]),
    ],
)
def test_a_failing_executor_fails_the_job_with_the_reason(tmp_path, name, words):
    client = {"executors": [{"tasks": ["*"], "executor": {"path": f"faulty.{name}"}}]}
    done = run(load_job_folder(write_job(tmp_path / "job", client=client, code={"faulty.py": FAULTY})), tmp_path)
    with pytest.raises(JobFailed) as failed:
        done.get_result()
    assert all(word in str(failed.value) for word in words)


CUSTOM = """
    from nvflare.apis.controller_spec import Task
    from nvflare.apis.dxo import DXO, DataKind, from_shareable
    from nvflare.apis.executor import Executor
    from nvflare.apis.fl_constant import ReturnCode
    from nvflare.apis.impl.controller import Controller
    from nvflare.apis.shareable import make_reply

    class Adds(Executor):
        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            value = from_shareable(shareable).data["value"]
            if task_name == "refuse":
                return make_reply(ReturnCode.TASK_UNKNOWN)
            return DXO(DataKind.APP_DEFINED, {"value": value + 1, "by": fl_ctx.get_identity_name()}).to_shareable()

    class Chain(Controller):
        def start_controller(self, fl_ctx):
            self.values = []

        def stop_controller(self, fl_ctx):
            pass

        def task(self, name, value):
            data = DXO(DataKind.APP_DEFINED, {"value": value}).to_shareable()
            return Task(name, data, result_received_cb=self.received)

        def received(self, client_task, fl_ctx):
            data = from_shareable(client_task.result).data
            self.values.append((client_task.client.name, data["value"], data["by"]))
            client_task.task.data = DXO(DataKind.APP_DEFINED, {"value": data["value"]}).to_shareable()

        def control_flow(self, abort_signal, fl_ctx):
            self.relay_and_wait(self.task("add", 1), fl_ctx, targets=["site-2", "site-1"])
            assert self.values == [("site-2", 2, "site-2"), ("site-1", 3, "site-1")], self.values
            self.values.clear()
            both = self.task("add", 5)
            self.broadcast(both, fl_ctx, min_responses=2)
            self.send_and_wait(self.task("add", 7), fl_ctx, targets=["site-2"])
            while self.get_num_standing_tasks():
                pass
            assert sorted(self.values) == [("site-1", 6, "site-1"), ("site-2", 6, "site-2"), ("site-2", 8, "site-2")]
            assert both.completion_status.value == "ok"

    class Careless(Chain):
        def control_flow(self, abort_signal, fl_ctx):
            self.broadcast_and_wait(Task("refuse", self.task("add", 0).data), fl_ctx)

    class Broken(Chain):
        def control_flow(self, abort_signal, fl_ctx):
            raise LookupError("no such study")
"""
ADDS = {"executors": [{"tasks": ["*"], "executor": {"path": "custom_parts.Adds"}}]}


def custom(tmp_path, name):
    server = {"workflows": [{"path": f"custom_parts.{name}"}]}
    return run(load_job_folder(write_job(tmp_path / "job", server, ADDS, {"custom_parts.py": CUSTOM})), tmp_path)


def test_a_controller_relays_broadcasts_and_sends_tasks_of_its_own(tmp_path):
    assert custom(tmp_path, "Chain").get_status() == "finished"


@pytest.mark.parametrize(("name", "words"), [("Careless", "TASK_UNKNOWN"), ("Broken", "no such study")])
def test_a_failure_that_a_controller_overlooks_or_raises_fails_the_job(tmp_path, name, words):
    with pytest.raises(JobFailed, match=words):
        custom(tmp_path, name).get_result()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda job: (job / "meta.json").write_text("{"), "not JSON"),
        (lambda job: (job / "app" / "config" / "config_fed_server.json").unlink(), "config_fed_server"),
        (lambda job: (job / "meta.json").write_text('{"deploy_map": {"other": ["@ALL"]}}'), "other"),
        (
            lambda job: (job / "app" / "config" / "config_fed_client.json").write_text(
                '{"executors": [{"executor": {}}]}'
            ),
            "path",
        ),
    ],
)
def test_a_job_that_cannot_be_understood_is_refused_with_the_file_and_the_reason(tmp_path, change, words):
    folder = write_job(tmp_path / "job")
    change(folder)
    with pytest.raises(JobError, match=words):
        load_job_folder(folder)


CCWF = "nvflare.app_common.ccwf"
RUNS_SCRIPT = {
    "tasks": ["train"],
    "executor": {
        "path": "nvflare.app_common.executors.in_process_client_api_executor.InProcessClientAPIExecutor",
        "args": {"task_script_path": "train.py", "task_script_args": "2"},
    },
}


def in_control(kind: str, **client):
    """Return the configurations of a job in which the sites have control."""
    control = {"path": f"{CCWF}.{kind}_client_ctl.{kind.title()}ClientController", "args": {"persistor_id": "models"}}
    generator = f"{CCWF}.comps.simple_model_shareable_generator.SimpleModelShareableGenerator"
    path = f"{CCWF}.{kind.title()}ServerController"
    server = {"workflows": [{"id": "controller", "path": path, "args": {"num_rounds": 3}}]}
    return server, {
        "executors": [{"tasks": [f"{kind}_*"], "executor": control}, RUNS_SCRIPT],
        "components": [
            {"id": "models", "path": PERSISTOR, "args": {"model": [1.0, 2.0]}},
            {"id": "shareable_generator", "path": generator},
        ],
        **client,
    }


def test_a_swarm_is_that_of_flare(tmp_path):
    server, client = in_control("swarm")
    job = load_job_folder(write_job(tmp_path / "job", server, client, {"train.py": SCRIPT}))
    assert [each.class_path for each in job.server.workflows] == ["flare_core.workflows.Swarm"]
    done = run(job, tmp_path)
    kept = load_file(done.get_result() / "sites" / "site-1" / "global_model.safetensors")
    assert kept["numpy_key"].tolist() == [7.0, 8.0]


EVALUATES = """
    import nvflare.client as flare

    flare.init()
    number, own = int(flare.get_site_name()[-1]), None
    while flare.is_running():
        model = flare.receive()
        if flare.is_submit_model():
            flare.send(flare.FLModel(params=own))
        elif flare.is_evaluate():
            flare.send(flare.FLModel(metrics={"sum": float(model.params["numpy_key"].sum()) * 10 + number}))
        else:
            own = {"numpy_key": model.params["numpy_key"] + number}
            flare.send(flare.FLModel(params=own))
"""


def in_control_and_evaluated(**settings):
    server, client = in_control("swarm")
    server["workflows"].append({"path": f"{CCWF}.cse_server_ctl.CrossSiteEvalServerController", "args": settings})
    control = {"path": f"{CCWF}.cse_client_ctl.CrossSiteEvalClientController", "args": {"persistor_id": "models"}}
    client["executors"].append({"tasks": ["cse_*"], "executor": control})
    return server, client


def test_the_models_of_a_swarm_are_evaluated_at_all_sites(tmp_path):
    folder = write_job(tmp_path / "job", *in_control_and_evaluated(), {"train.py": EVALUATES})
    done = simulate(folder, tmp_path / "runs", n_clients=2)
    results = tmp_path / "runs" / "server" / "simulate_job" / "cross_site_val" / "cross_val_results.json"
    # Each round adds 1.5 to both numbers, and in the last one site-1 adds 1 and site-2 adds 2 to their own.
    sums = {"GLOBAL_server": 12.0, "site-1": 11.0, "site-2": 13.0}
    assert json.loads(results.read_text()) == {
        f"site-{number}": {name: {"sum": value * 10 + number} for name, value in sums.items()} for number in (1, 2)
    }
    assert list((done.get_result() / "server").glob("*.safetensors")) == []  # the server has none of the models


def test_an_evaluation_by_some_sites_alone_is_refused(tmp_path):
    configs = in_control_and_evaluated(evaluators=["site-1"])
    with pytest.raises(JobError, match="participating_clients"):
        load_job_folder(write_job(tmp_path / "job", *configs, {"train.py": EVALUATES}))


def test_a_swarm_with_another_workflow_is_refused(tmp_path):
    server, client = in_control("swarm")
    server["workflows"].append({"path": "nvflare.app_common.workflows.fedavg.FedAvg"})
    with pytest.raises(JobError, match="other workflows"):
        load_job_folder(write_job(tmp_path / "job", server, client, {"train.py": EVALUATES}))


def test_the_server_runs_a_cycle_of_the_sites(tmp_path):
    server, client = in_control("cyclic")
    done = run(load_job_folder(write_job(tmp_path / "job", server, client, {"train.py": SCRIPT})), tmp_path)
    assert done.load_model()["numpy_key"].tolist() == [13.0, 14.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"components": []}, "a persistor"),
        ({"executors": [{"tasks": ["train"], "executor": TRAINER}]}, "runs a script"),
        ({"task_result_filters": [{"tasks": ["train"], "filters": []}]}, "task_result_filters"),
    ],
)
def test_a_swarm_with_other_parts_is_refused(tmp_path, changes, words):
    server, client = in_control("swarm", **changes)
    with pytest.raises(JobError, match=words):
        load_job_folder(write_job(tmp_path / "job", server, client, {"train.py": SCRIPT}))


def test_scripts_get_the_weight_of_a_proximal_term(tmp_path):
    script = """
        import nvflare.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            model.params = {key: value + model.meta["fedprox_mu"] for key, value in model.params.items()}
            flare.send(model)
    """
    args = {"num_clients": 2, "num_rounds": 2, "fedprox_mu": 0.5}
    server = {
        "workflows": [{"id": "rounds", "path": "nvflare.app_common.workflows.fedavg.FedAvg", "args": args}],
        "components": [{"id": "persistor", "path": PERSISTOR, "args": {"model": [1.0, 2.0]}}],
    }
    job = load_job_folder(write_job(tmp_path / "job", server, {"executors": [RUNS_SCRIPT]}, {"train.py": script}))
    assert run(job, tmp_path).load_model()["numpy_key"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("name", ["in process", "launched"])
def test_a_script_finds_the_folder_of_the_run_above_its_own_file(tmp_path, name):
    executor, components = EXECUTORS[name]
    server = {
        "workflows": [
            {"path": "nvflare.app_common.workflows.fedavg.FedAvg", "args": {"num_clients": 2, "num_rounds": 1}}
        ],
        "components": [{"id": "persistor", "path": PERSISTOR, "args": {"model": [1.0, 2.0]}}],
    }
    client = {"app_script": "train.py", "executors": [{"tasks": ["*"], "executor": executor}], "components": components}
    lines = (
        "import os\nwith open(os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../own.txt'), 'w'): pass\n"
    )
    folder = write_job(tmp_path / "job", server, client, {"train.py": lines + textwrap.dedent(SCRIPT)})
    result = run(load_job_folder(folder), tmp_path).get_result()
    assert (result / "sites" / "site-1" / "simulate_job" / "own.txt").is_file()
    assert (result / "sites" / "site-2" / "simulate_job" / "app_site-2" / "custom" / "train.py").is_file()
