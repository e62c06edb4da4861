"""A job folder reproduces the exported job, or the export says what it cannot represent; typos are errors."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core import Filter, Job, JobError
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, FilterEntry, ServerApp
from flare_core.job_folder import export_job, load_job

texts = st.text('abc-é"{}%', min_size=1, max_size=5)
names = st.text("abcdefgh", min_size=1, max_size=6)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts.map("x{}".format), inner, max_size=3),
    max_leaves=5,
)
config = st.dictionaries(names.map("set_{}".format), plain, max_size=3)
components = st.builds(Component, st.just("package.module.Class"), st.dictionaries(names, plain, max_size=3))
tasks = st.lists(names, min_size=1, max_size=2).map(tuple)
filters = st.lists(st.builds(FilterEntry, tasks, st.lists(components, min_size=1, max_size=2).map(tuple)), max_size=2)
parts = {
    "components": st.dictionaries(names, components, max_size=2),
    "task_data_filters": filters,
    "task_result_filters": filters,
    "config": config,
}
servers = st.builds(ServerApp, workflows=st.lists(components, max_size=2), **parts)
clients = st.builds(ClientApp, executors=st.lists(st.builds(ExecutorEntry, tasks, components), max_size=2), **parts)
resources = st.fixed_dictionaries({"@ALL": st.fixed_dictionaries({"num_of_gpus": st.integers(0, 8)})})
meta = st.fixed_dictionaries(
    {},
    optional={
        "resource_spec": resources,
        "mandatory_clients": st.lists(names, max_size=2),
        "round_deadline_s": st.floats(1, 100),
        "reconnect_grace_s": st.floats(1, 100),
        "server_files": st.lists(names, max_size=2),
        "decomposers": st.lists(names.map("package.{}".format), max_size=2),
        "note": plain,
    },
)


@given(
    server=servers,
    client=clients,
    sites=st.dictionaries(names.map("site-{}".format), clients, max_size=3),
    meta=meta,
    min_clients=st.integers(1, 9),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=100, deadline=None)
def test_every_field_comes_back(tmp_path_factory, server, client, sites, meta, min_clients, seed):
    folder = tmp_path_factory.mktemp("exported")
    code = CodeBundle(folder)
    job = Job("job", min_clients, server, client, code, sites=sites, seed=seed, meta=meta)
    loaded = load_job(export_job(job, folder / "out"))
    for field in ("name", "min_clients", "server", "client", "sites", "seed", "meta"):
        assert getattr(loaded, field) == getattr(job, field), field


class Mode(Enum):
    FAST = "fast"


class Scaled(Filter):
    """Stores a value other than its argument."""

    def __init__(self, factor=1.0):
        self.factor = 2 * factor

    def process(self, model, context):
        return model


class Named(Scaled):
    def __init__(self, **factors):
        self.factors = factors


class Several(Scaled):
    def __init__(self, *factors):
        self.factors = factors


class Set(Scaled):
    def __init__(self):
        self.factor = 1.0


class Kept(Scaled):
    def __init__(self, value=None):
        self.value = value
        self.noise = np.random.default_rng()
        self.start = np.random.normal(size=3)  # different each time


class Own(Scaled):
    def __init__(self, mode=Mode.FAST, places=("a",)):
        self.mode, self.places = Mode(mode), tuple(places)


def changed(value, **attributes):
    vars(value).update(attributes)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Scaled(2.0), "attribute 'factor' would be 8.0, not 4.0"),
        (Named(scale=3.0), r"attribute 'factors' would be {}, not {'scale': 3.0}"),
        (Several(3.0), r"attribute 'factors' would be \(\), not \(3.0,\)"),
        (changed(Set(), factor=3.0), "attribute 'factor' would be 1.0, not 3.0"),
        (Kept(Mode.FAST), "attribute 'value' would be 'fast', not <Mode.FAST"),
        (Kept({1: "a"}), "has the key 1, which JSON would turn into a string"),
        (Kept({"path": "a.b"}), "class path 'a.b'"),
    ],
)
def test_an_object_that_would_change_is_refused(project, value, message):
    recipe = project.recipe()
    recipe.add_client_output_filter(value)
    with pytest.raises(JobError, match=message):
        recipe.export(project.folder / "out")


@pytest.mark.parametrize(
    "value", [Kept(), Kept([1.5, "a", None]), Kept(("a", 1)), Kept(Path("data")), Kept({"a": {"b": [1]}}), Own()]
)
def test_an_object_that_stays_the_same_is_accepted(project, value):
    recipe = project.recipe()
    recipe.add_client_output_filter(value)
    exported = recipe.export(project.folder / "out")
    path = f"{__name__}.{type(value).__name__}"
    assert load_job(exported).client.task_result_filters[0].filters[0].class_path == path


def edited(project, file, change):
    folder = project.recipe().export(project.folder / "out")
    path = folder / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("meta.json", "min_client", 5, "unknown key 'min_client'; did you mean 'min_clients'"),
        ("meta.json", "Seed", 5, "unknown key 'Seed'; did you mean 'seed'"),
        ("meta.json", "round_deadline", 5, "did you mean 'round_deadline_s'"),
        ("meta.json", "min_clients", 1.5, "'min_clients', 1.5,"),
        ("meta.json", "min_clients", True, "'min_clients', True,"),
        ("meta.json", "seed", "7", "'seed', '7',"),
        ("app/config/config_fed_client.json", "task_result_filter", [], "did you mean 'task_result_filters'"),
        ("app/config/config_fed_server.json", "workflow", [], "did you mean 'workflows'"),
        (
            "app/config/config_fed_client.json",
            "task_result_filters",
            [{"task": ["train"], "filters": []}],
            "an entry of 'task_result_filters' has the unknown key 'task'",
        ),
        (
            "meta.json",
            "deploy_map",
            {"app": ["@ALL", "site-1"], "b": ["site-1"]},
            "deploy_map assigns both 'app' and 'b' to site-1",
        ),
    ],
)
def test_a_typo_in_a_jobs_files_is_not_ignored(project, file, key, value, message):
    folder = edited(project, file, lambda content: content.update({key: value}))
    with pytest.raises(JobError, match=message):
        load_job(folder)


def test_the_server_has_the_app_that_names_it(project):
    folder = edited(
        project, "meta.json", lambda meta: meta.update(deploy_map={"app": ["@ALL"], "app_server": ["server"]})
    )
    (folder / "app_server").mkdir()
    (folder / "app" / "config" / "config_fed_server.json").replace(folder / "moved.json")
    (folder / "app_server" / "config").mkdir()
    (folder / "moved.json").replace(folder / "app_server" / "config" / "config_fed_server.json")
    job = load_job(folder)
    assert job.server.workflows[0].class_path == "flare_core.workflows.FedAvg"
    assert job.client_code("site-1").locate("client.py").read_text() == (project.folder / "client.py").read_text()
