"""The settings that a site's owner keeps, as executors and services of a job find them in every environment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import local_settings
from flare_core.recipes import WorkflowRecipe
from flare_runtime import SimEnv
from local_settings import AsksForSettings, NotesSettings, ReadsSettings

IN_POC = """
    from local_settings import AsksForSettings, ReadsSettings

    from flare_core.recipes import WorkflowRecipe
    from flare_deploy import PocEnv

    recipe = WorkflowRecipe(min_clients=2, workflow=AsksForSettings(), executors={"*": ReadsSettings()})
    print(recipe.execute(PocEnv(num_clients=2, workspace_root="runs")).get_result())
"""


def make_recipe() -> WorkflowRecipe:
    recipe = WorkflowRecipe(min_clients=2, workflow=AsksForSettings(), executors={"*": ReadsSettings()})
    recipe.add_server_component("notes", NotesSettings())
    recipe.add_client_component("notes", NotesSettings())
    return recipe


def write_settings(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.txt").write_text(text)


def answers(folder: Path) -> list[str]:
    return [(folder / "server" / f"{site}.txt").read_text() for site in ("site-1", "site-2")]


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
def test_a_simulated_site_has_its_settings_in_the_workspace(tmp_path, share):
    write_settings(tmp_path / "local" / "site-1", "careful")
    write_settings(tmp_path / "local" / "server", "the server's")
    env = SimEnv(num_clients=2, num_threads=1, share_processes=share, workspace_root=tmp_path)
    folder = make_recipe().execute(env).get_result()
    assert answers(folder) == ["careful", "none in site-2"]
    noted = [(folder / party / "policy.txt").read_text() for party in ("server", "sites/site-1", "sites/site-2")]
    assert noted == ["the server's", "careful", "none"]


@pytest.mark.deployed
def test_a_temporary_federation_uses_the_settings_of_the_workspace(project, tmp_path):
    write_settings(tmp_path / "runs" / "local" / "site-1", "careful")
    project.write("job.py", IN_POC)
    shutil.copy(Path(local_settings.__file__), tmp_path)
    done = project.python("job.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert answers(Path(done.stdout.splitlines()[-1])) == ["careful", "none in local"]
    assert (tmp_path / "runs" / "local" / "site-1" / "policy.txt").read_text() == "careful"  # not removed with the kits


def test_a_deployed_party_has_its_settings_in_its_kit(hospital):
    place = hospital(2)
    write_settings(place.kit("site-1") / "local", "careful")
    write_settings(place.kit("server") / "local", "the server's")
    with place.admin() as admin:
        job_id = admin.submit(make_recipe().job())["id"]
    found, _ = place.result(job_id)
    assert found["state"] == "finished", found
    folder = place.folder / "results" / job_id
    assert answers(folder) == ["careful", "none in local"]
    assert (folder / "server" / "policy.txt").read_text() == "the server's"
    site = place.kit("site-1") / "jobs" / job_id / "run" / "sites" / "site-1"
    assert (site / "policy.txt").read_text() == "careful"
