"""Recipes and environments with scripts of NumPy models."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from flare_core import JobFailed, RecipeError
from nvflare._flare.params import joined, packed, split
from nvflare.app_common.np.recipes import NumpyCrossSiteEvalRecipe, NumpyFedAvgRecipe
from nvflare.client import FLModel
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import FrameworkType, ScriptRunner
from nvflare.recipe import Run, SimEnv, add_cross_site_evaluation
from nvflare.recipe.fedavg import FedAvgRecipe

CLIENT = """
    import sys
    import nvflare.client as flare

    flare.init()
    step = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    while flare.is_running():
        model = flare.receive()
        if flare.is_submit_model():
            flare.send(flare.FLModel(params={"numpy_key": own}))
            continue
        array = model.params["numpy_key"]
        metrics = {"accuracy": float(array.mean())}
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics))
            continue
        own = array + step
        flare.send(flare.FLModel(params={"numpy_key": own}, metrics=metrics, meta={"greeting": flare.get_config()}))
    """


@pytest.fixture
def script(tmp_path) -> str:
    return write(tmp_path / "client.py", CLIENT)


def write(path: Path, text: str) -> str:
    path.write_text(textwrap.dedent(text))
    return str(path)


def run(recipe, folder: Path, **settings) -> Path:
    """Execute a recipe at two sites, and return the folder of the results."""
    env = SimEnv(**{"num_clients": 2, "workspace_root": str(folder / "results"), **settings})
    return Path(recipe.execute(env).get_result())


def recipe_of(script: str, **arguments) -> NumpyFedAvgRecipe:
    return NumpyFedAvgRecipe(
        **{"name": "job", "min_clients": 2, "num_rounds": 2, "model": [1.0, 2.0], "train_script": script, **arguments}
    )


def test_results_are_where_the_tools_look_for_them_beside_the_record_of_the_run(tmp_path, script):
    folder = run(recipe_of(script), tmp_path)
    assert folder == tmp_path / "results" / "job"
    assert np.load(folder / "server/simulate_job/models/server.npy").tolist() == [3.0, 4.0]
    assert np.load(folder / "server/simulate_job/models/best_server.npy").tolist() == [2.0, 3.0]
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "finished"
    results = folder / "server/simulate_job/cross_site_val/cross_val_results.json"
    assert json.loads(results.read_text()) == {}  # nothing was evaluated
    for party in ("server", "site-2"):
        meta = json.loads((folder / party / "simulate_job" / "meta.json").read_text())
        assert (meta["name"], meta["job_clients"]) == ("job", [{"name": "site-1"}, {"name": "site-2"}])


def test_a_second_run_takes_the_place_of_the_first(tmp_path, script):
    run(recipe_of(script), tmp_path)
    folder = run(recipe_of(script, num_rounds=1), tmp_path)
    assert np.load(folder / "server/simulate_job/models/server.npy").tolist() == [2.0, 3.0]
    assert len(list(folder.glob("*/summary.json"))) == 2


def test_settings_of_a_site_replace_those_of_the_recipe(tmp_path, script):
    recipe = recipe_of(script, num_rounds=1, train_args="1", per_site_config={"site-2": {"train_args": "3"}})
    folder = run(recipe, tmp_path)
    assert np.load(folder / "server/simulate_job/models/server.npy").tolist() == [3.0, 4.0]


def test_scripts_find_settings_and_files_that_are_added(tmp_path):
    (tmp_path / "greeting.txt").write_text("hello")
    script = write(
        tmp_path / "client.py",
        """
        from pathlib import Path
        import nvflare.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            text = (Path(__file__).parent / "greeting.txt").read_text()
            assert flare.get_config()["word"] == text == "hello"
            flare.send(model)
        """,
    )
    recipe = recipe_of(script, num_rounds=1)
    recipe.add_client_config({"word": "hello"})
    recipe.add_client_file(str(tmp_path / "greeting.txt"))
    run(recipe, tmp_path)


def test_settings_for_one_execution_are_gone_afterwards(tmp_path, script):
    recipe = recipe_of(script)
    with recipe.job.settings(None, {"word": "hello"}):
        assert recipe.job.flare_job().client.config["word"] == "hello"
    assert "word" not in recipe.job.flare_job().client.config


def test_results_of_nvidia_flare_itself_are_renamed_rather_than_replaced(tmp_path, script, caplog):
    older = tmp_path / "results" / "job" / "server"
    older.mkdir(parents=True)
    (older / "log.txt").write_text("of NVIDIA FLARE")
    folder = run(recipe_of(script), tmp_path)
    [kept] = folder.glob("server.before-*")
    assert (kept / "log.txt").read_text() == "of NVIDIA FLARE"
    assert (folder / "server").is_symlink()
    assert f"{older} was in the way of the results, and is {kept.name} now" in caplog.text


def test_models_are_evaluated_at_every_site_after_the_training(tmp_path, script):
    recipe = recipe_of(script)
    add_cross_site_evaluation(recipe)
    folder = run(recipe, tmp_path)
    results = json.loads((folder / "server/simulate_job/cross_site_val/cross_val_results.json").read_text())
    assert results["site-1"]["SRV_server"] == {"accuracy": 3.5}
    assert results["site-1"].keys() == {"SRV_server", "SRV_best_server", "site-1", "site-2"}


def test_a_script_without_a_model_of_its_own_evaluates_those_of_the_server(tmp_path, caplog):
    text = textwrap.dedent(CLIENT).split("    if flare.is_submit_model")
    recipe = recipe_of(write(tmp_path / "client.py", text[0] + text[1].partition("continue\n")[2]))
    add_cross_site_evaluation(recipe)
    folder = run(recipe, tmp_path)
    results = json.loads((folder / "server/simulate_job/cross_site_val/cross_val_results.json").read_text())
    assert results["site-2"] == {"SRV_server": {"accuracy": 3.5}, "SRV_best_server": {"accuracy": 2.5}}
    assert "client.py does not check flare.is_submit_model()" in caplog.text


def test_stored_models_are_evaluated_without_training(tmp_path, script):
    np.save(tmp_path / "one.npy", np.array([1.0, 3.0]))
    recipe = NumpyCrossSiteEvalRecipe(
        name="job", min_clients=2, eval_script=script, model_dir=str(tmp_path), model_name={"one": "one.npy"}
    )
    results = run(recipe, tmp_path) / "server/simulate_job/cross_site_val/cross_val_results.json"
    assert json.loads(results.read_text())["site-2"]["SRV_one"] == {"accuracy": 2.0}


def test_an_aggregator_written_for_nvidia_flare_combines_the_models(tmp_path, script):
    write(
        tmp_path / "smallest.py",
        """
        from nvflare.app_common.abstract.fl_model import FLModel

        class Smallest:
            def reset_stats(self):
                self.found = {}

            def accept_model(self, model):
                self.found[model.meta["client_name"]] = model.params["numpy_key"]

            def aggregate_model(self):
                return FLModel(params={"numpy_key": min(self.found.values(), key=lambda each: each.sum())})
        """,
    )
    sys.path.insert(0, str(tmp_path))
    try:
        from smallest import Smallest

        settings = {"site-2": {"train_args": "5"}}
        recipe = recipe_of(script, num_rounds=1, train_args="2", per_site_config=settings, aggregator=Smallest())
        folder = run(recipe, tmp_path)
    finally:
        sys.path.remove(str(tmp_path))
    assert np.load(folder / "server/simulate_job/models/server.npy").tolist() == [3.0, 4.0]


def test_a_script_that_fails_ends_the_run_with_its_traceback_and_exit_code_1(tmp_path):
    script = write(
        tmp_path / "client.py", "import nvflare.client as flare\nflare.init()\nraise ValueError('no data')\n"
    )
    with pytest.raises(JobFailed, match=r"site-\d: client\.py failed .*no data"):
        run(recipe_of(script), tmp_path)


def test_a_script_must_be_there_in_a_simulation_and_may_be_installed_at_the_sites_otherwise(tmp_path):
    recipe = recipe_of("/opt/installed/client.py")
    with pytest.raises(RecipeError, match=r"'/opt/installed/client\.py' does not exist on this machine"):
        run(recipe, tmp_path)
    assert recipe.job.flare_job().preinstalled == ("/opt/installed/client.py",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "num_clients"),
        ({"num_clients": 3, "clients": ["a", "b"]}, "num_clients is 3"),
        ({"num_clients": 1, "extra": 7}, "extra is a int"),
    ],
)
def test_contradictory_arguments_of_an_environment_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SimEnv(**arguments)


def test_a_run_needs_an_environment_and_an_id():
    with pytest.raises(ValueError, match="give an environment"):
        Run(None, "job")


def test_recipe_for_any_framework_takes_that_of_the_framework(tmp_path, script):
    recipe = FedAvgRecipe(
        name="job", min_clients=2, num_rounds=1, model=[0.0], train_script=script, framework=FrameworkType.NUMPY
    )
    assert np.load(run(recipe, tmp_path) / "server/simulate_job/models/server.npy").tolist() == [1.0]


def test_params_of_any_form_can_be_put_together_again():
    params = {"layer": [np.ones(2), np.zeros(1)], "empty": [], "rate": 0.1, "name": "log_loss", "w": np.ones(1)}
    arrays, rest = split(params)
    assert list(arrays) == ["layer/~0", "layer/~1", "w"]
    again = joined(arrays, rest)
    assert again.keys() == params.keys()
    assert [each.tolist() for each in again["layer"]] == [[1.0, 1.0], [0.0]]
    model = FLModel(params={"w": np.ones(1)})
    assert packed(model) is model


def test_job_folder_of_parts_has_an_app_for_each_party_and_the_scripts(tmp_path, script, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = FedJob("parts", min_clients=2, mandatory_clients=["site-1"], meta_props={"scope": "foo"})
    job.to_server({"limit": 3})
    for site in ("site-1", "site-2"):
        runner = ScriptRunner("client.py", "--lr 1", launch_external_process=True, framework=FrameworkType.NUMPY)
        job.to(runner, site, tasks=["train"])
    job.export_job(str(tmp_path / "jobs"))
    folder = tmp_path / "jobs" / "parts"
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["deploy_map"] == {"app_server": ["server"], "app_site-1": ["site-1"], "app_site-2": ["site-2"]}
    assert (meta["mandatory_clients"], meta["scope"]) == (["site-1"], "foo")
    assert json.loads((folder / "app_server/config/config_fed_server.json").read_text())["limit"] == 3
    client = json.loads((folder / "app_site-1/config/config_fed_client.json").read_text())
    assert client["executors"][0]["tasks"] == ["train"]
    launcher = next(each for each in client["components"] if each["id"] == "launcher")
    assert launcher["args"]["script"] == "python3 -u custom/client.py --lr 1"
    assert (folder / "app_site-2/custom/client.py").is_file()


def test_parts_of_a_job_are_checked():
    job = FedJob("parts")
    with pytest.raises(ValueError, match="there is nothing to add"):
        job.to_server(None)
    runner = ScriptRunner(__file__, framework=FrameworkType.RAW)
    job.to_clients(runner)
    with pytest.raises(ValueError, match="already has an executor for the task"):
        job.to_clients(runner)
    with pytest.raises(ValueError, match="a target is 'a/b'"):
        job.to({"x": 1}, "a/b")


def test_a_failed_job_ends_its_process_with_an_error(tmp_path, script):
    job = write(
        tmp_path / "job.py",
        f"""
        from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
        from nvflare.recipe import SimEnv

        recipe = NumpyFedAvgRecipe(name="job", min_clients=2, model=[1], train_script="client.py", train_args="x")
        recipe.execute(SimEnv(num_clients=2, workspace_root={str(tmp_path / "results")!r}))
        """,
    )
    done = subprocess.run([sys.executable, job], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "could not convert string to float" in done.stderr


def test_settings_of_sites_can_be_set_later_but_before_other_additions(tmp_path, script):
    recipe = recipe_of(script, num_rounds=1)
    recipe.set_per_site_config({"site-1": {"train_args": "3"}})
    assert recipe.configured_sites() == ["site-1"]
    folder = run(recipe, tmp_path)
    assert np.load(folder / "server/simulate_job/models/server.npy").tolist() == [3.0, 4.0]
    recipe.add_client_config({"x": 1})
    with pytest.raises(RecipeError, match="before anything is added"):
        recipe.set_per_site_config({})


def test_export_on_the_command_line_writes_the_job_and_does_not_run_it(tmp_path, script):
    job = write(
        tmp_path / "job.py",
        """
        import sys
        from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
        from nvflare.recipe import SimEnv

        recipe = NumpyFedAvgRecipe(name="job", min_clients=2, model=[1], train_script="client.py")
        assert sys.argv[1:] == ["own"]
        recipe.execute(SimEnv(num_clients=2))
        raise AssertionError("not reached")
        """,
    )
    command = [sys.executable, job, "--export", "own", "--export-dir", str(tmp_path / "jobs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "jobs" / "job" / "meta.json").is_file()
