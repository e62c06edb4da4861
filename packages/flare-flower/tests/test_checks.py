"""What speaks against a run is told in sentences, before it starts."""

from __future__ import annotations

import time

import pytest
from flower_probe import PROBE

from flare_core import FlareError, RecipeError
from flare_core.compression.filters import DecompressTensors
from flare_core.testing import FakeFederation
from flare_flower import FlowerRecipe, checks
from flare_flower.workflow import FlowerWorkflow

FINE = {"version": "1.42.0", "missing": {}, "offset_s": 0.1, "memory_mib": 8000, "policy": {}}


@pytest.mark.parametrize(
    ("found", "parts"),
    [
        ({"version": None}, ["site-1 has no flwr", "pip install flwr==1.42.0"]),
        ({"version": "1.41.3"}, ["site-1 has flwr 1.41.3 and the server 1.42.0", "pip install flwr==1.42.0"]),
        ({"missing": {"torch": "app/task.py, line 3"}}, ["'torch'", "app/task.py, line 3", "pip install"]),
        ({"offset_s": 600.0}, ["the clock of site-1 is 600 s ahead of the server's", "NTP"]),
        ({"offset_s": -600.0}, ["the clock of site-1 is 600 s behind the server's", "NTP"]),
        ({"memory_mib": 100}, ["site-1 has 100 MiB of free memory", "needs 300 MiB"]),
        ({"policy": {"allow": False}}, ["the owner of site-1 does not allow Flower apps"]),
        ({"policy": {"require_filters": True}}, ["the owner of site-1 requires filters", "flower.json"]),
    ],
)
def test_a_problem_of_a_site_is_a_sentence_with_a_remedy(found, parts):
    (told,) = checks.problems("site-1", FINE | found, "1.42.0")
    assert all(part in told for part in parts), told


@pytest.mark.parametrize("offset_s", [4.0, -300.0])
def test_clocks_that_flower_accepts_are_accepted(offset_s):
    assert checks.problems("site-1", FINE | {"offset_s": offset_s}, "1.42.7") == []


def test_the_offset_of_a_clock_is_measured_by_the_quickest_of_three_tries():
    ticks = iter([100.0, 120.0, 200.0, 200.2, 300.0, 310.0])  # before and after each try
    server = iter([50.0, 190.1, 250.0])
    assert checks.clock_offset_s(lambda: next(server), lambda: next(ticks)) == pytest.approx(10.0)


def test_all_problems_of_all_sites_are_told_at_once_before_anything_starts():
    def site(**found):
        return lambda task: FINE | {"version": checks.version()} | found

    fed = FakeFederation({"site-1": site(offset_s=600.0), "site-2": site(missing={"torch": "task.py, line 1"})})
    with pytest.raises(FlareError, match=r"(?s)clock of site-1.*site-2 lacks the package 'torch'"):
        fed.run(FlowerWorkflow(imports={}, min_clients=2))
    assert [task.name for _, task in fed.tasks] == ["flower.check", "flower.check"]


def test_a_package_that_the_server_lacks_is_told_with_the_place_of_its_import():
    fed = FakeFederation({"site-1": lambda task: FINE | {"version": checks.version()}})
    with pytest.raises(FlareError, match=r"the server lacks the package 'of_the_future'.*server_app.py, line 2"):
        fed.run(FlowerWorkflow(imports={"of_the_future": "server_app.py, line 2"}, min_clients=1))


def test_this_machine_can_run_an_app():
    found = {
        "version": checks.version(),
        "missing": checks.missing({"numpy": "task.py, line 1"}),
        "offset_s": checks.clock_offset_s(time.time),
        "memory_mib": None,
        "policy": {},
    }
    assert checks.problems("here", found, checks.version()) == []


def changed(tmp_path, text: str, by: str):
    app = tmp_path / "app"
    (app / "probe_app").mkdir(parents=True)
    for name in ("server_app.py", "client_app.py"):
        (app / "probe_app" / name).write_text("app = None\n")
    (app / "pyproject.toml").write_text((PROBE / "pyproject.toml").read_text().replace(text, by))
    return app


@pytest.mark.parametrize(
    ("text", "by", "told"),
    [
        ('name = "probe-app"', "", r"no name in \[project\]"),
        ('publisher = "flare"', "", r"no publisher in \[tool.flwr.app\]"),
        ('"probe_app.client_app:app"', '"probe_app.client_app"', "write 'module:attribute'"),
        ('"probe_app.client_app:app"', '"probe_app.gone:app"', "the app has no module probe_app.gone"),
        ("[project]", "[project", "cannot be read"),
    ],
)
def test_an_app_that_lacks_something_is_refused_with_its_file(tmp_path, text, by, told):
    with pytest.raises(RecipeError, match=told) as refused:
        FlowerRecipe(flower_content=changed(tmp_path, text, by), min_clients=2)
    assert "pyproject.toml" in str(refused.value)


def test_a_folder_without_an_app_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(RecipeError, match="flare flower new"):
        FlowerRecipe(flower_content=tmp_path, min_clients=2)
    with pytest.raises(RecipeError, match="is no folder"):
        FlowerRecipe(flower_content=tmp_path / "gone", min_clients=2)


def test_a_value_that_the_app_does_not_know_is_refused_with_those_it_has():
    with pytest.raises(RecipeError, match=r"'round', which .* it has rounds, nodes"):
        FlowerRecipe(flower_content=PROBE, min_clients=2, run_config={"round": 3})


def test_filters_are_refused_since_they_could_not_see_what_the_app_sends():
    recipe = FlowerRecipe(flower_content=PROBE, min_clients=2)
    recipe.add_client_output_filter(DecompressTensors())
    with pytest.raises(RecipeError, match="mods"):
        recipe.job()


def test_imports_are_found_in_helpers_and_not_where_the_app_guards_them(tmp_path):
    app = changed(tmp_path, "", "")
    (app / "probe_app" / "client_app.py").write_text(
        "import os\nimport numpy\nfrom probe_app.other import x\ntry:\n    import maybe\nexcept ImportError: ...\n"
    )
    (app / "probe_app" / "other.py").write_text("\nfrom torch.nn import Linear\n")
    recipe = FlowerRecipe(flower_content=app, min_clients=2)
    (entry,) = recipe.job().client.executors
    assert entry.executor.args["imports"] == {
        "numpy": "probe_app/client_app.py, line 2",
        "torch": "probe_app/other.py, line 2",
    }


@pytest.mark.parametrize("value", ['say "hi"', "a\\b", "two\nlines", None, [1]])
def test_a_node_config_that_a_command_line_cannot_carry_is_refused(value):
    with pytest.raises(RecipeError, match=r"per_site_config\['site-1'\]\['node_config'\]\['path'\]"):
        FlowerRecipe(flower_content=PROBE, min_clients=2, per_site_config={"site-1": {"node_config": {"path": value}}})


def test_node_config_and_run_config_reach_the_job_as_they_are():
    recipe = FlowerRecipe(
        flower_content=PROBE,
        min_clients=2,
        run_config={"rounds": 5},
        per_site_config={"site-2": {"node_config": {"path": "/data/a b"}, "config": {"rows": 1}}},
    )
    job = recipe.job()
    (entry,) = job.sites["site-2"].executors
    assert entry.executor.args["node_config"] == {"path": "/data/a b"}
    assert job.sites["site-2"].config == {"rows": 1}
    assert job.server.components["flower"].args["run_config"] == {"rounds": 5}
