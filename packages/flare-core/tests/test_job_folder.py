"""Job folders: export, loading, and errors about invalid files."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from flare_core import Job, JobError
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, FilterEntry, ServerApp
from flare_core.job_folder import export_job, load_job
from flare_core.local_copies import copies_folder, local_copies


def make_job(folder, **changes):
    (folder / "client.py").write_text("print('client')\n")
    (folder / "extra.bin").write_bytes(b"\0\1")
    script = {"script": "client.py", "args": ["--cfg", '{"lr": 0.1}', "--tag", "{site}", "--pct", "50%", ""]}
    values = {
        "name": "demo",
        "min_clients": 2,
        "server": ServerApp(
            workflows=[Component("flare_core.workflows.FedAvg", {"min_clients": 2, "num_rounds": 3})],
            components={"persistor": Component("a.Persistor", {"initial": "initial.bin"})},
            task_data_filters=[FilterEntry(("train",), (Component("a.Filter", {"x": 1}),))],
            config={"colour": "red"},
        ),
        "client": ClientApp(executors=[ExecutorEntry(("*",), Component("a.Executor", script))], config={"lr": 0}),
        "sites": {"site-2": ClientApp(executors=[ExecutorEntry(("train",), Component("a.Other"))])},
        "code": CodeBundle(folder, (PurePosixPath("client.py"),), {PurePosixPath("initial.bin"): folder / "extra.bin"}),
        "seed": 7,
        "meta": {"study": "heart"},
    }
    return Job(**{**values, **changes})


class Held:
    """An object with data that may be copied on this machine, and must not leave it."""

    def __init__(self, data):
        self.held = data

    @property
    def data(self):
        folder = copies_folder()
        if folder is None:
            raise JobError("these data are in memory")
        (folder / "copy").write_text(self.held)
        return str(folder / "copy")


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def test_the_layout_is_the_one_of_the_format(project, tmp_path):
    folder = export_job(make_job(project), tmp_path / "out")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [
        "app/config/config_fed_client.json",
        "app/config/config_fed_server.json",
        "app/custom/client.py",
        "app/custom/initial.bin",
        "app_site-2/config/config_fed_client.json",
        "meta.json",
    ]
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["deploy_map"] == {"app": ["@ALL"], "app_site-2": ["site-2"]}
    server = json.loads((folder / "app/config/config_fed_server.json").read_text())
    assert (server["format_version"], server["workflows"][0]["path"]) == (2, "flare_core.workflows.FedAvg")
    client = json.loads((folder / "app/config/config_fed_client.json").read_text())
    assert client["executors"][0]["tasks"] == ["*"]


def test_a_loaded_job_equals_the_exported_one(project, tmp_path):
    job = make_job(project)
    loaded = load_job(export_job(job, tmp_path / "out"))
    for name in ("name", "min_clients", "server", "client", "sites", "seed", "meta"):
        assert getattr(loaded, name) == getattr(job, name), name
    assert loaded.code.locate("client.py").read_text() == "print('client')\n"
    assert loaded.code.locate("initial.bin").read_bytes() == b"\0\1"


def test_braces_quotes_and_percent_signs_are_kept(project, tmp_path):
    loaded = load_job(export_job(make_job(project), tmp_path / "out"))
    assert loaded.client.executors[0].executor.args["args"][1] == '{"lr": 0.1}'
    assert loaded.client.executors[0].executor.args["args"][3] == "{site}"


def test_an_older_export_is_replaced_and_a_foreign_folder_is_not(project, tmp_path):
    root = tmp_path / "out"
    export_job(make_job(project), root)
    export_job(make_job(project, seed=8), root)
    assert load_job(root / "demo").seed == 8
    (root / "demo" / "meta.json").unlink()
    with pytest.raises(JobError, match="is not a job folder"):
        export_job(make_job(project), root)


def test_a_site_with_its_own_app_runs_it(project):
    job = make_job(project)
    assert job.client_app("site-2").executors[0].executor.class_path == "a.Other"
    assert job.client_app("site-1") is job.client


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("meta.json", None, "meta.json: No such file"),
        ("meta.json", "{", "meta.json: not JSON"),
        ("meta.json", "[]", "holds a list instead of an object"),
        ("meta.json", '{"min_clients": 1}', "'name' is missing"),
        ("meta.json", '{"name": "../x"}', "a job's name is '../x'"),
        ("meta.json", '{"name": "x", "deploy_map": {"../app": ["@ALL"]}}', "an app in"),
        ("meta.json", '{"name": "x", "deploy_map": {"app": ["site-1"]}}', "has no app for the server"),
        ("app/config/config_fed_client.json", '{"executors": {}}', "'executors' must be a list"),
        ("app/config/config_fed_client.json", '{"executors": [{"tasks": "train"}]}', "must be a list of task names"),
        ("app/config/config_fed_client.json", '{"executors": [{"executor": {"args": {}}}]}', "class_path"),
        ("app/config/config_fed_server.json", None, "config_fed_server.json: No such file"),
    ],
)
def test_the_error_for_an_invalid_job_folder_names_file_and_key(project, tmp_path, file, content, message):
    folder = export_job(make_job(project), tmp_path / "out")
    path = folder / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(JobError, match=message):
        load_job(folder)


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"mandatory_client": ["site-1"]}, "meta of the job 'demo': unknown key 'mandatory_client'; did you mean"),
        ({"min_clients": 3}, "'min_clients' cannot be set there"),
        ({"study": {1, 2}}, "meta of the job 'demo': 'study' has no JSON form"),
    ],
)
def test_a_wrong_entry_of_meta_is_refused_before_anything_is_written(project, tmp_path, meta, said):
    with pytest.raises(JobError, match=said):
        export_job(make_job(project, meta=meta), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_setting_without_a_json_form_is_refused_with_its_file(project, tmp_path):
    job = make_job(project, server=ServerApp(config={"colour": object()}))
    with pytest.raises(JobError, match=r"config_fed_server\.json has no JSON form"):
        export_job(job, tmp_path / "out")


def test_disabled_entries_are_left_out(project, tmp_path):
    folder = export_job(make_job(project), tmp_path / "out")
    path = folder / "app/config/config_fed_server.json"
    content = json.loads(path.read_text())
    content["components"][0]["disabled"] = True
    path.write_text(json.dumps(content))
    assert load_job(folder).server.components == {}


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "missing.py"])
def test_names_cannot_lead_out_of_the_code_folder(project, name):
    with pytest.raises(JobError):
        make_job(project).code.locate(name)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 101, None])
def test_names_that_cannot_be_folders_are_rejected(project, name):
    with pytest.raises(JobError, match="a job's name is"):
        make_job(project, name=name)


def test_data_in_memory_are_copied_for_this_machine_alone(project, tmp_path):
    job = make_job(
        project, sites={}, client=ClientApp([ExecutorEntry(("*",), Component("a.Executor", {"x": Held("rows")}))])
    )
    with local_copies(tmp_path):
        folder = export_job(job, tmp_path / "here")
    (entry,) = json.loads((folder / "app/config/config_fed_client.json").read_text())["executors"]
    assert entry["executor"]["args"]["x"]["args"] == {"data": str(tmp_path / "copy")}
    assert (tmp_path / "copy").read_text() == "rows"
    with pytest.raises(JobError, match="these data are in memory"):
        export_job(job, tmp_path / "elsewhere")
