"""Jobs and sessions of NVIDIA FLARE with real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flare_deploy import PocEnv
from flare_deploy.poc import Poc
from nvflare._host.jobs import load_job_folder
from nvflare.cli import run
from nvflare.fuel.flare_api.api_spec import InvalidJobDefinition, JobNotFound, MonitorReturnCode, SessionClosed
from nvflare.fuel.flare_api.flare_api import new_secure_session

NAMES = "nvflare.app_common"
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


def write_job(folder: Path, *, trainer: str = f"{NAMES}.np.np_trainer.NPTrainer", code: str = "") -> Path:
    config = folder / "app" / "config"
    config.mkdir(parents=True)
    (folder / "app" / "custom").mkdir()
    if code:
        (folder / "app" / "custom" / "own.py").write_text(code)
    controller = {"min_clients": 2, "num_rounds": 3, "persistor_id": "persistor"}
    server = {
        "workflows": [{"path": f"{NAMES}.workflows.scatter_and_gather.ScatterAndGather", "args": controller}],
        "components": [{"id": name, "path": path, "args": args} for name, (path, args) in COMPONENTS.items()],
    }
    client = {"executors": [{"tasks": ["*"], "executor": {"path": trainer}}]}
    meta = {"name": folder.name, "min_clients": 2, "deploy_map": {"app": ["@ALL"]}}
    for path, content in (
        (folder / "meta.json", meta),
        (config / "config_fed_server.json", server),
        (config / "config_fed_client.json", client),
    ):
        path.write_text(json.dumps(content))
    return folder


HANDLER = """
from nvflare.fuel.hci.client.event import EventHandler, EventPropKey, EventType


class Notes(EventHandler):
    def __init__(self, file):
        self.file = file

    def handle_event(self, event_type, ctx):
        name = ctx.get_prop(EventPropKey.CMD_NAME, "")
        if name == "submit_job":
            ctx.set_custom_prop("tokens", {"site-1": ctx.get_prop(EventPropKey.USER_NAME)})
        with open(self.file, "a") as file:
            file.write(f"{event_type} {name}\\n")
"""
TRAINER = """
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.job_def import JobMetaKey
from nvflare.app_common.np.np_trainer import NPTrainer


class Checks(NPTrainer):
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        props = fl_ctx.get_prop(ReservedKey.JOB_META)[JobMetaKey.CUSTOM_PROPS]
        assert props == {"tokens": {"site-1": "admin@example.org"}}, props
        return super().execute(task_name, shareable, fl_ctx, abort_signal)
"""


def write_handler(kit: Path, file: Path) -> None:
    local = kit / "local"
    (local / "custom").mkdir(parents=True)
    (local / "custom" / "session_notes.py").write_text(HANDLER)
    entry = {"id": "notes", "path": "session_notes.Notes", "args": {"file": str(file)}}
    (local / "resources.json").write_text(json.dumps({"handlers": [entry]}))


def check_download(result: Path) -> None:
    assert json.loads((result / "job" / "good" / "meta.json").read_text())["min_clients"] == 2
    workspace = result / "workspace"
    assert (workspace / "models" / "server.npy").is_file()
    assert json.loads((workspace / "meta.json").read_text())["name"] == "good"
    assert (workspace / "app_server" / "config" / "config_fed_server.json").is_file()
    assert (workspace / "app_server" / "custom" / "own.py").read_text() == TRAINER
    for place in ("", "site-1", "site-2"):
        assert (workspace / place / "log.json").is_file()
        assert (workspace / place / "error_log.txt").read_text() == ""
    assert json.loads((result / "summary.json").read_text())["outcome"] == "finished"


@pytest.mark.deployed
def test_a_config_based_job_gives_the_same_model_in_processes(tmp_path):
    done = PocEnv(num_clients=2, workspace_root=tmp_path).deploy(load_job_folder(write_job(tmp_path / "job")))
    assert done.load_model()["numpy_key"].tolist() == [4.0, 5.0]


@pytest.mark.deployed
def test_a_session_submits_watches_and_fetches_jobs(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("NVFLARE_POC_WORKSPACE", str(tmp_path / "poc"))
    assert run(["poc", "prepare", "-n", "2"]) == 0
    poc = Poc(tmp_path / "poc")
    poc.start(owned=True)
    try:
        kit = str(poc.admin)
        write_handler(Path(kit), tmp_path / "notes")
        with new_secure_session("admin@example.org", kit) as session:
            assert sorted(each.name for each in session.get_system_info().client_info) == ["site-1", "site-2"]
            job = session.submit_job(str(write_job(tmp_path / "good", trainer="own.Checks", code=TRAINER)))
            seen: list[str] = []
            code = session.monitor_job(job, cb=lambda _, id_, meta: seen.append(meta["status"]) is None)
            assert (code, seen[-1]) == (MonitorReturnCode.JOB_FINISHED, "FINISHED:COMPLETED")
            result = Path(session.download_job_result(job, str(tmp_path / "results")))
            check_download(result)
            broken = write_job(
                tmp_path / "bad",
                trainer="own.Broken",
                code="from nvflare.apis.executor import Executor\n"
                "class Broken(Executor):\n"
                "    def execute(self, *task):\n"
                "        raise OSError('the disk is full')\n",
            )
            failed = session.submit_job(str(broken))
            assert session.wait_for_job(failed)["status"] == "FINISHED:EXECUTION_EXCEPTION"
            for _ in range(2):  # the second time over the first
                result = Path(session.download_job_result(failed, str(tmp_path / "results")))
                assert "the disk is full" in (result / "workspace" / "error_log.txt").read_text()
            assert "the disk is full" in session.get_job_meta(failed)["reason"]
            assert [each["job_id"] for each in session.list_jobs()] == [failed, job]
            with pytest.raises(InvalidJobDefinition, match="nowhere"):
                session.submit_job(str(tmp_path / "nowhere"))
            with pytest.raises(JobNotFound):
                session.get_job_meta("nothing")
        with pytest.raises(SessionClosed):
            session.list_jobs()
        notes = (tmp_path / "notes").read_text().splitlines()
        assert notes[:4] == [
            "before_login ",
            "login_success ",
            "before_execute_cmd check_status",
            "before_execute_cmd submit_job",
        ]
        assert run(["job", "wait", failed, "--kit", kit]) == 3
    finally:
        poc.stop()
    assert run(["poc", "clean"]) == 0
