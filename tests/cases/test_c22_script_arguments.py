"""C22: a script's arguments are exactly what a POSIX shell would make of them, everywhere."""

from __future__ import annotations

import json

import pytest

from flare_core.job_folder import load_job

ARGS = (
    r"""--cfg '{"lr": 0.1, "h": [1,2]}' --tag {site} --fmt "{}" --path "/data/my dir/x.csv" --re '^a$' """
    r"""--pct 50% --home ~/d --empty ''"""
)
WANTED = [
    "--cfg", '{"lr": 0.1, "h": [1,2]}', "--tag", "{site}", "--fmt", "{}", "--path", "/data/my dir/x.csv",
    "--re", "^a$", "--pct", "50%", "--home", "~/d", "--empty", "",
]  # fmt: skip
SCRIPT = """
    import json, sys
    import flare_core.client as flare

    flare.init()
    with open("argv.json", "w") as file:
        json.dump(sys.argv[1:], file)
    while flare.is_running():
        flare.send(flare.FLModel(params=flare.receive().params))
"""


def argv_of(run, site):
    return json.loads((run.get_result() / "sites" / site / "argv.json").read_text())


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
@pytest.mark.parametrize("form", [ARGS, WANTED], ids=["text", "list"])
def test_text_and_lists_arrive_unchanged(project, form, external):
    recipe = project.recipe(SCRIPT, train_args=form, launch_external_process=external)
    run = recipe.execute(project.env(num_threads=1, share_processes=True))
    assert argv_of(run, "site-1") == argv_of(run, "site-2") == WANTED


@pytest.mark.parametrize(
    "external",
    [pytest.param(False, id="in-process", marks=pytest.mark.at_length), pytest.param(True, id="external")],
)
def test_processes_of_a_federation_get_the_same_arguments(project, external):
    write = 'with open("argv.json", "w") as file:\n        json.dump(sys.argv[1:], file)'
    script = SCRIPT.replace(write, 'print("ARGV", json.dumps(sys.argv[1:]), flush=True)')
    status, folder, _ = project.poc(script, train_args=ARGS, launch_external_process=external)
    assert status == "finished"
    for site in ("site-1", "site-2"):
        log = (folder / "sites" / site / "log.txt").read_text()
        (line,) = [line for line in log.splitlines() if line.startswith("ARGV ")]
        assert json.loads(line.removeprefix("ARGV ")) == WANTED


def test_sites_have_their_own_arguments(project):
    recipe = project.recipe(SCRIPT, train_args=ARGS, per_site_config={"site-2": {"train_args": "--tag '{x}'"}})
    run = recipe.execute(project.env(num_threads=1, share_processes=True))
    assert argv_of(run, "site-1") == WANTED
    assert argv_of(run, "site-2") == ["--tag", "{x}"]


def test_an_exported_job_has_the_same_arguments(project, tmp_path):
    folder = project.recipe(SCRIPT, train_args=ARGS).export(tmp_path / "exported")
    run = project.env().deploy(load_job(folder))
    assert argv_of(run, "site-1") == WANTED
