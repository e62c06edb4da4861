"""The folder of results of a run holds what NVIDIA FLARE's tools look for, beside Flare's own record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from nvflare_folders import CLIENT, write_job

from flare_core import JobError, JobFailed
from nvflare._flare.log_forms import records
from nvflare._host.simulator import simulate
from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv, add_experiment_tracking, set_recipe_meta

FIELDS = ["asctime", "identity", "name", "fullName", "levelname", "fl_ctx", "message"]

SCRIPT = """
    import logging
    import nvflare.client as flare
    from nvflare.client.tracking import SummaryWriter

    flare.init()
    writer = SummaryWriter()
    while flare.is_running():
        model = flare.receive()
        print("trains", flare.get_site_name())
        array = model.params["numpy_key"] + 1
        writer.add_scalar("mean", float(array.mean()), global_step=model.current_round)
        flare.send(flare.FLModel(params={"numpy_key": array}, metrics={"mean": float(array.mean())}))
"""
FAILS = SCRIPT.replace("print(", "1 / (flare.get_site_name() == 'site-1') or print(")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    def make(script: str = SCRIPT, **more) -> NumpyFedAvgRecipe:
        (tmp_path / "client.py").write_text("\n".join(line[4:] for line in script.splitlines()))
        (tmp_path / "table.csv").write_text("1,2\n")
        monkeypatch.chdir(tmp_path)
        return NumpyFedAvgRecipe(
            name="job", min_clients=2, num_rounds=2, model=[1.0, 2.0], train_script="client.py", **more
        )

    return make


def run(recipe: NumpyFedAvgRecipe, tmp_path: Path) -> Path:
    return Path(recipe.execute(SimEnv(num_clients=2, workspace_root=str(tmp_path / "runs"))).get_result())


def json_log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.json").read_text().splitlines()]


def test_a_party_has_its_logs_and_its_part_of_the_job(recipe, tmp_path):
    folder = run(recipe(), tmp_path)
    for party, side in (("server", "server"), ("site-1", "client"), ("site-2", "client")):
        app = folder / party / "simulate_job" / f"app_{party}"
        assert [each.name for each in (app / "config").iterdir()] == [f"config_fed_{side}.json"]
        assert json.loads((app / "config" / f"config_fed_{side}.json").read_text())["format_version"] == 2
        assert (app / "custom" / "client.py").read_text() == (tmp_path / "client.py").read_text()
        assert (folder / party / "error_log.txt").read_text() == (folder / party / "log_error.txt").read_text() == ""
        assert (folder / party / "log_fl.txt").samefile(folder / party / "log.txt")
        meta = json.loads((folder / party / "simulate_job" / "meta.json").read_text())
        assert (meta["name"], meta["min_clients"]) == ("job", 2)
        assert meta["job_clients"] == [{"name": "site-1"}, {"name": "site-2"}]
    found = json_log(folder / "site-2")
    assert [list(each) for each in found] == [FIELDS] * 2
    assert {(each["identity"], each["levelname"], each["message"]) for each in found} == {
        ("site-2", "INFO", "trains site-2")
    }
    assert all(each["asctime"] for each in found)


def test_a_site_has_neither_the_settings_of_another_nor_the_files_of_the_server(recipe, tmp_path):
    made = recipe(per_site_config={"site-1": {"train_args": "--fast"}, "site-2": {}})
    made.add_server_file("table.csv")
    folder = run(made, tmp_path)
    fast = [
        "--fast" in (folder / site / f"simulate_job/app_{site}/config/config_fed_client.json").read_text()
        for site in ("site-1", "site-2")
    ]
    assert fast == [True, False]
    assert (folder / "server/simulate_job/app_server/custom/table.csv").is_file()
    assert [each.name for each in (folder / "site-1/simulate_job/app_site-1/custom").iterdir()] == ["client.py"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("deploymap", {}, "unknown key 'deploymap'; did you mean 'deploy_map'"),
        ("deploy_map", {}, "'deploy_map' cannot be set there"),
        ("of", object(), "'of' has no JSON form"),
    ],
)
def test_a_wrong_entry_of_the_jobs_meta_is_refused_before_the_run(recipe, tmp_path, name, value, said):
    made = recipe()
    set_recipe_meta(made, name, value)
    with pytest.raises(JobError, match=said):
        run(made, tmp_path)
    assert not (tmp_path / "runs" / "job").exists()
    with pytest.raises(JobError, match=said):
        made.export(str(tmp_path / "exported"))


OF_A_SCRIPT = """
from nvflare.apis.dxo import DataKind
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv


class Unchanged(DXOFilter):
    def __init__(self):
        super().__init__([DataKind.WEIGHTS], None)

    def process_dxo(self, dxo, shareable, fl_ctx):
        return None


recipe = NumpyFedAvgRecipe(name="job", min_clients=2, num_rounds=2, model=[1.0, 2.0], train_script="client.py")
recipe.add_client_output_filter(Unchanged())
print(recipe.execute(SimEnv(num_clients=2, workspace_root="runs")).get_result())
"""


def test_a_job_with_a_class_of_the_launching_script_is_not_among_the_results(recipe, tmp_path):
    recipe()
    (tmp_path / "launch.py").write_text(OF_A_SCRIPT)
    line = [sys.executable, "launch.py"]  # of its own process, which can be forked, as it has nothing else loaded
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "job"
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "finished"
    assert not list(folder.glob("*/job"))
    assert not (folder / "site-1" / "simulate_job" / "app_site-1" / "config").exists()
    assert json.loads((folder / "site-1" / "simulate_job" / "meta.json").read_text())["name"] == "job"
    assert len(json_log(folder / "site-1")) == 2


def test_a_failed_run_leaves_its_errors_where_they_are_looked_for(recipe, tmp_path):
    with pytest.raises(JobFailed, match="ZeroDivisionError"):
        run(recipe(FAILS), tmp_path)
    folder = tmp_path / "runs" / "job"
    assert "ERROR - Traceback" in (folder / "site-2" / "error_log.txt").read_text()
    assert "ZeroDivisionError" in (folder / "site-2" / "log_error.txt").read_text()
    assert "site failed site=site-2" in (folder / "server" / "error_log.txt").read_text()
    (error,) = (each for each in json_log(folder / "site-2") if each["levelname"] == "ERROR")
    assert error["message"].splitlines()[0] == "Traceback (most recent call last):"
    assert error["message"].splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "failed"


def test_curves_of_a_site_are_in_a_folder_of_its_own(recipe, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = recipe()
    add_experiment_tracking(made, "tensorboard")
    events = run(made, tmp_path) / "server" / "simulate_job" / "tb_events"
    assert sorted(each.name for each in events.iterdir()) == ["server", "site-1", "site-2"]
    site = EventAccumulator(str(events / "site-1"))
    site.Reload()
    assert [(each.step, each.value) for each in site.Scalars("mean")][::2] == [(0, 2.5), (1, 3.5)]


PARTS = """
    from nvflare.app_common.np.np_trainer import NPTrainer

    class Speaking(NPTrainer):
        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            self.log_error(fl_ctx, "the disk is nearly full")
            return super().execute(task_name, shareable, fl_ctx, abort_signal)
"""


def test_what_the_parts_of_a_site_report_is_in_its_logs(tmp_path):
    executor = {"path": "own.Speaking", "args": {"delta": 2}}
    client = CLIENT | {"executors": [{"tasks": ["*"], "executor": executor}]}
    simulate(write_job(tmp_path / "job", client=client, code={"own.py": PARTS}), tmp_path / "runs", n_clients=2)
    for site in ("site-1", "site-2"):
        errors = [each for each in json_log(tmp_path / "runs" / site) if each["levelname"] == "ERROR"]
        assert [each["message"] for each in errors] == ["the disk is nearly full"] * 3
        assert {(each["identity"], each["name"], each["fl_ctx"]) for each in errors} == {
            (site, "Speaking", f"[party={site}, task=train]")
        }
        assert (tmp_path / "runs" / site / "error_log.txt").read_text().count("the disk is nearly full") == 3
        assert (tmp_path / "runs" / site / "simulate_job" / f"app_{site}" / "custom" / "own.py").is_file()


LOG = """\
2026-01-02 10:15:00,123 ERROR   77 flare_runtime.run.arrivals site failed site=site-2
    site-2: it is late
2026-01-02 10:15:01,000 INFO    77 nvflare.app_common.Train [party=site-1, task=train] 3 % done
  a printed line
WARNING:own.data:7 rows are empty
warning: the model is unchanged
"""


def test_lines_of_a_log_become_records(tmp_path):
    (tmp_path / "log.txt").write_text(LOG)
    found = list(records(tmp_path / "log.txt", "server", ""))
    assert [list(each) for each in found] == [FIELDS] * 5
    assert [tuple(each.values()) for each in found] == [
        (
            "2026-01-02 10:15:00,123", "server", "arrivals", "flare_runtime.run.arrivals", "ERROR", "",
            "site failed site=site-2\nsite-2: it is late",
        ),
        (
            "2026-01-02 10:15:01,000", "site-1", "Train", "nvflare.app_common.Train", "INFO",
            "[party=site-1, task=train]", "3 % done",
        ),
        ("2026-01-02 10:15:01,000", "server", "script", "script", "INFO", "", "  a printed line"),
        ("2026-01-02 10:15:01,000", "server", "data", "own.data", "WARNING", "", "7 rows are empty"),
        ("2026-01-02 10:15:01,000", "server", "script", "script", "WARNING", "", "the model is unchanged"),
    ]  # fmt: skip
