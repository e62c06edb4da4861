"""Experiment tracking and other additions to a recipe, from the script to the files, in every environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from flare_core import JobError, Observer, RecipeError, RunStatus
from flare_core.events import RunEnded, RunStarted
from flare_core.job_folder import export_job, load_job
from flare_core.recipes import add_experiment_tracking

SCRIPT = """
    import flare_core.client as flare
    from flare_core.client.tracking import SummaryWriter

    flare.init()
    writer = SummaryWriter()
    number = int(flare.get_site_name()[-1])
    while flare.is_running():
        model = flare.receive()
        writer.add_scalar("loss", number / 2)
        params = {key: value + number for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params, metrics={"accuracy": number + model.current_round}))
"""
FOUND = {
    "site-1/loss": [(0, 0.5), (1, 0.5)],
    "site-2/loss": [(0, 1.0), (1, 1.0)],
    "site-1/accuracy": [(0, 1.0), (1, 2.0)],
    "site-2/accuracy": [(0, 2.0), (1, 3.0)],
    "accuracy": [(0, 1.5), (1, 2.5)],
}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    files.Reload()
    return {tag: [(each.step, each.value) for each in files.Scalars(tag)] for tag in files.Tags()["scalars"]}


@pytest.fixture
def tracked(project):
    pytest.importorskip("tensorboard")

    def make(**options):
        recipe = project.recipe(SCRIPT, num_rounds=2)
        add_experiment_tracking(recipe, "tensorboard", **options)
        return recipe

    return make


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tracked_recipe_has_every_number_in_its_tracker(project, tracked, workers):
    folder = tracked().execute(project.env(num_threads=workers)).get_result()
    assert scalars(folder / "server" / "tensorboard") == FOUND


def test_tracking_survives_export_and_loading_of_a_job(project, tracked, tmp_path):
    recipe = tracked(client_side=True, tracking_config={"folder": "board"})
    job = load_job(export_job(recipe.job(), tmp_path / "jobs"))
    folder = project.env().deploy(job).get_result()
    assert scalars(folder / "server" / "board") == FOUND
    for site in ("site-1", "site-2"):
        of_site = {tag: values for tag, values in FOUND.items() if tag.startswith(site)}
        assert scalars(folder / "sites" / site / "board") == of_site


def test_tracking_changes_nothing_else(project, tracked):
    plain = project.recipe(SCRIPT, num_rounds=2).execute(project.env())
    run = tracked(client_side=True).execute(project.env())
    rows = [sorted(each.metrics(), key=str) for each in (plain, run)]  # log values arrive in any order
    assert rows[0] == rows[1]
    assert run.load_model()["numpy_key"].tolist() == plain.load_model()["numpy_key"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tracking_config": {"place": "x"}}, "tracking_config: .*unexpected keyword argument 'place'"),
        ({"tracking_config": {"folder": "/tmp"}}, "tracking_config: folder is '/tmp'"),
        ({"tracking_config": "board"}, "tracking_config is a str"),
    ],
)
def test_a_configuration_that_the_receiver_does_not_accept_is_refused(tracked, options, message):
    with pytest.raises(RecipeError, match=message):
        tracked(**options)


def test_the_same_tracker_twice_is_refused(tracked):
    recipe = tracked()
    with pytest.raises(RecipeError, match="the server already has a component 'tensorboard'; use another id"):
        add_experiment_tracking(recipe, "tensorboard")
    add_experiment_tracking(recipe, "tensorboard", client_side=True, server_side=False)


def test_a_log_after_the_reply_belongs_to_the_sites_current_round(project):
    script = SCRIPT + "        flare.log('late', 1.0)\n"
    run = project.recipe(script, num_rounds=3).execute(project.env())
    late = [(row["site"], row["round"]) for row in run.metrics() if row["key"] == "late"]
    assert sorted(late) == [(site, round_) for site in ("site-1", "site-2") for round_ in range(3)]


class Remembers(Observer):
    """Records its events, and warns."""

    def attach(self, run):
        run.events.subscribe(RunStarted, lambda event: run.warn("watched"))
        run.events.subscribe(RunEnded, lambda event: (run.folder / "end.txt").write_text(f"{run.site} {event.outcome}"))


def test_observers_are_notified_of_the_end_at_the_server_and_at_sites(project, capsys):
    recipe = project.recipe(SCRIPT)
    recipe.add_server_component("observer", Remembers())
    recipe.add_client_component("observer", Remembers(), clients=["site-2"])
    folder = recipe.execute(project.env()).get_result()
    assert (folder / "server" / "end.txt").read_text() == "None finished"
    assert (folder / "sites" / "site-2" / "end.txt").read_text() == "site-2 finished"
    assert not (folder / "sites" / "site-1" / "end.txt").exists()
    printed = capsys.readouterr().out
    assert printed.count("warning: watched\n") == printed.count("warning: site-2: watched\n") == 1


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_observers_are_notified_of_the_end_when_another_site_fails(project, external):
    fails = SCRIPT.replace("        writer.", "        1 / (number - 1)\n        writer.")
    recipe = project.recipe(fails, launch_external_process=external)
    recipe.add_client_component("observer", Remembers())
    run = recipe.execute(project.env(num_threads=2), raise_on_failure=False)
    assert run.get_status() is RunStatus.FAILED
    folder = run.get_result(raise_on_failure=False)
    assert (folder / "sites" / "site-1" / "end.txt").read_text() == "site-1 failed"
    assert (folder / "sites" / "site-2" / "end.txt").read_text() == "site-2 aborted"


POINT = """
    from dataclasses import dataclass

    @dataclass
    class Point:
        x: float
"""

TRAVELS = """
    from pathlib import Path

    import extra
    import flare_core.client as flare

    flare.init()
    print(Path(__file__).with_name("note.txt").read_text(), flare.get_config())
    while flare.is_running():
        model = flare.receive()
        params = {key: value + 1 for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params, meta={"point": extra.Point(1.5)}, metrics={"x": 1}))
"""

SEES = """
    from flare_core.aggregation import WeightedMean

    class Seeing(WeightedMean):
        def add(self, reply):
            assert reply.model.meta["point"].x == 1.5, reply.model.meta
            super().add(reply)
"""


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
@pytest.mark.parametrize("exported", [False, True], ids=["as it is", "exported"])
def test_files_settings_and_types_are_where_the_script_expects_them(project, tmp_path, external, exported):
    project.write("elsewhere/note.txt", "seen")
    project.write("elsewhere/extra.py", POINT)
    project.write("elsewhere/seeing.py", SEES)
    recipe = project.recipe(TRAVELS, launch_external_process=external)
    for name in ("note.txt", "extra.py"):
        recipe.add_client_file(project.folder / "elsewhere" / name)
    recipe.add_server_file(project.folder / "elsewhere" / "seeing.py")
    recipe.add_client_config({"lr": 0.5})
    recipe.add_decomposers(["extra.Point"])
    job = recipe.job()
    job.server.workflows[0].args["aggregator"] = {"path": "seeing.Seeing"}
    if exported:
        job = load_job(export_job(job, tmp_path / "jobs"))
    run = project.env(num_threads=1).deploy(job)
    folder = run.get_result()
    for site in ("site-1", "site-2"):
        assert (folder / "sites" / site / "log.txt").read_text() == "seen {'lr': 0.5}\n"


def test_a_type_that_cannot_be_registered_is_named_before_anything_starts(project):
    recipe = project.recipe()
    recipe.add_decomposers(["nowhere.Point"])
    with pytest.raises(JobError, match=r"class path 'nowhere\.Point': cannot import 'nowhere'"):
        recipe.execute(project.env())


POC = """
    import sys

    import numpy as np

    from flare_core.recipes import add_experiment_tracking
    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv

    recipe = FedAvgRecipe(
        name="case", min_clients=2, num_rounds=2, initial_model=np.zeros(2), train_script="client.py",
        launch_external_process=sys.argv[1] == "external",
    )
    add_experiment_tracking(recipe, "tensorboard", client_side=True)
    recipe.add_server_file("files/server.txt")
    recipe.add_client_file("files/client.txt")
    run = recipe.execute(PocEnv(num_clients=2))
    print(run.get_result())
"""


LISTS = """
    from pathlib import Path

    print(sorted(path.name for path in Path(__file__).parent.glob("*.txt")))
    print(len(list(Path("tensorboard").iterdir())), "event files", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["inside", "external"])
def test_processes_track_as_the_simulator_does(project, kind):
    pytest.importorskip("tensorboard")
    project.write("client.py", LISTS + SCRIPT)
    project.write("job.py", POC)
    for name in ("server", "client"):  # not next to the script, where they would be sent anyway
        project.write(f"files/{name}.txt", name)
    done = project.python("job.py", kind, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert scalars(folder / "server" / "tensorboard") == FOUND
    for site in ("site-1", "site-2"):
        log = (folder / "sites" / site / "log.txt").read_text()
        assert log == "['client.txt']\n1 event files\n"
