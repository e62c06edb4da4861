"""A job that runs another one first."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from flare_core import RecipeError
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.recipes import preceded_by


def job(name, folder, *, tasks=("a",), component=None, sites=(), file=None):
    if file is not None:
        (folder / file).write_text(name)
    app = ClientApp(
        executors=[ExecutorEntry(tasks, Component(f"{name}.Executor"))],
        components={component: Component("x.Y")} if component else {},
        config={name: 1},
    )
    files = () if file is None else (PurePosixPath(file),)
    return Job(
        name=name,
        min_clients=2,
        server=ServerApp(workflows=[Component(f"{name}.Workflow")]),
        client=app,
        sites=dict.fromkeys(sites, app),
        code=CodeBundle(Path(folder), files),
    )


def test_workflows_and_executors_come_first_at_every_site(tmp_path):
    first, second = job("one", tmp_path, sites=["x"], component="c"), job("two", tmp_path, tasks=("*",), sites=["y"])
    made = preceded_by(second, first)
    assert made.name == "two"
    assert [each.class_path for each in made.server.workflows] == ["one.Workflow", "two.Workflow"]
    for site in ("x", "y", "another"):
        app = made.client_app(site)
        assert [entry.executor.class_path for entry in app.executors] == ["one.Executor", "two.Executor"]
        assert app.config == {"one": 1, "two": 1}
        assert list(app.components) == ["c"]
    assert [len(each.client.executors) for each in (first, second)] == [1, 1]


@pytest.mark.parametrize("folders", [("a", "a"), ("a", "b")])
def test_both_jobs_bring_their_files(tmp_path, folders):
    for folder in set(folders):
        (tmp_path / folder).mkdir()
    first, second = (
        job(file, tmp_path / at, file=f"{file}.py") for file, at in zip(("one", "two"), folders, strict=True)
    )
    code = preceded_by(second, first).code
    assert {code.locate(f"{name}.py").read_text() for name in ("one", "two")} == {"one", "two"}


def test_a_job_whose_executors_take_all_tasks_cannot_come_first(tmp_path):
    with pytest.raises(RecipeError, match="'one' cannot run before another one"):
        preceded_by(job("two", tmp_path), job("one", tmp_path, tasks=("*",)))


def test_components_of_one_name_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="both jobs have a component 'c'"):
        preceded_by(job("two", tmp_path, component="c"), job("one", tmp_path, component="c"))
