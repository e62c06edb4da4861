"""Every Keras recipe with incomplete or failing sites, and one in both the simulator and separate processes."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import flare_recipes_tf
from flare_core import JobFailed
from flare_runtime import SimEnv
from flare_tensor_downloader import read_file

RECIPES = {
    "CrossSiteEvalRecipe": {},
    "CyclicRecipe": {},
    "FedAvgRecipe": {},
    "FedEvalRecipe": {},
    "FedOptRecipe": {"optimizer_args": {"class_path": "keras.optimizers.Adam", "args": {"learning_rate": 0.01}}},
    "ScaffoldRecipe": {},
    "SwarmLearningRecipe": {},
}
EVALUATIONS = {"CrossSiteEvalRecipe", "FedEvalRecipe"}  # these leave the model unchanged

NETWORK = """
    import keras


    def network():
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
        )
"""

SCRIPT = """
    import sys

    import flare_core.client as flare

    flare.init()
    site = flare.get_site_name()
    if "--die" in sys.argv and site == "site-2":
        raise ValueError("this site fails")

    import keras
    import numpy as np
    import tensorflow as tf

    from flare_recipes_tf import Scaffold, get_params, set_params
    from network import network

    random = np.random.default_rng(int(site[-1]))
    labels = random.integers(3, size=40)
    if "--lack" in sys.argv:
        labels = {"site-1": labels, "site-2": np.zeros(40, int), "site-3": labels[:0]}[site]
    rows = (random.normal(size=(len(labels), 4)) + labels[:, np.newaxis]).astype("float32")
    model = network()
    scaffold = Scaffold(model)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


    def accuracy():
        return float((np.asarray(model(rows)).argmax(axis=1) == labels).mean())


    def train(received=None):
        corrects = received is not None and received.optimizer_params is not None
        if corrects:
            scaffold.start(received)
        optimizer = keras.optimizers.SGD(0.1)
        batches = random.permutation(len(labels)).reshape(2, -1)
        for batch in batches:
            with tf.GradientTape() as tape:
                loss = loss_of(labels[batch], model(rows[batch], training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(scaffold.correct(gradients) if corrects else gradients, model.trainable_variables)
        return scaffold.finish(len(batches), 0.1) if corrects else None


    while flare.is_running():
        received = flare.receive()
        controls = None
        if flare.is_submit_model():
            if len(labels):
                train()
            flare.send(flare.FLModel(params=get_params(model)))
            continue
        set_params(model, received.params)
        metrics = {"accuracy": accuracy()} if len(labels) else {}
        meta = {"NUM_STEPS_CURRENT_ROUND": len(labels)}
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics, meta=meta))
            continue
        if len(labels):
            controls = train(received)
        params = get_params(model)
        flare.send(flare.FLModel(params=params, optimizer_params=controls, metrics=metrics, meta=meta))
"""

BOTH = """
    from network import network

    from flare_recipes_tf import FedAvgRecipe
    from flare_deploy import PocEnv
    from flare_runtime import SimEnv

    recipe = FedAvgRecipe(min_clients=2, num_rounds=2, initial_model=network(), train_script="client.py")
    for env in (SimEnv(clients=["ward-1", "ward-2"], num_threads=1), PocEnv(clients=["ward-1", "ward-2"])):
        print("came to", recipe.execute(env).get_result())
"""


def write(folder, name, text):
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a recipe by name, in one process because TensorFlow is slow to start."""
    network = runpy.run_path(str(write(tmp_path, "network.py", NETWORK)))["network"]
    script = write(tmp_path, "client.py", SCRIPT)

    def execute(name, sites, *words):
        rounds = {} if name in EVALUATIONS else {"num_rounds": 2}
        recipe = getattr(flare_recipes_tf, name)(
            min_clients=sites,
            initial_model=network(),
            train_script=script,
            train_args=list(words),
            **rounds,
            **RECIPES[name],
        )
        env = SimEnv(num_clients=sites, num_threads=1, share_processes=True, workspace_root=tmp_path / "runs")
        return recipe.execute(env)

    return execute


def check(name, run):
    """Check that the model is finite, the same everywhere, and that only training has moved its statistics."""
    folder = run.get_result()
    paths = [*folder.glob("server/global_model.safetensors"), *folder.glob("sites/*/global_model.safetensors")]
    assert len({path.read_bytes() for path in paths}) == 1
    params = read_file(paths[0])
    assert all(np.isfinite(value).all() for value in params.values())
    assert (params["4/batch_normalization/moving_mean"] != 0).any() == (name not in EVALUATIONS)
    return {row["site"] for row in run.metrics()} - {None}


def recipes(*names: str):
    """Run a test with some recipes, and at length with all: each run starts TensorFlow in several processes."""
    others = [pytest.param(name, marks=pytest.mark.at_length) for name in RECIPES if name not in names]
    return pytest.mark.parametrize("name", [*names, *others])


@pytest.mark.slow
@recipes("FedOptRecipe", "CyclicRecipe", "FedEvalRecipe")
def test_every_recipe_runs_with_one_site(run, name):
    assert check(name, run(name, 1)) == {"site-1"}


@pytest.mark.slow
@recipes("FedAvgRecipe", "CrossSiteEvalRecipe")
def test_sites_with_one_class_or_no_rows_can_take_part(run, name):
    assert check(name, run(name, 3, "--lack")) == {"site-1", "site-2"}  # site-3 has nothing to measure


@pytest.mark.slow
@recipes("ScaffoldRecipe", "SwarmLearningRecipe")
def test_the_error_for_a_failed_site_names_it(run, name):
    with pytest.raises(JobFailed, match="site-2") as caught:
        run(name, 2, "--die").get_result()
    assert "this site fails" in str(caught.value)


@pytest.mark.slow
@pytest.mark.at_length
def test_a_recipe_gives_the_same_model_in_the_simulator_and_in_separate_processes(tmp_path):
    """Run in a new process, because loading PocEnv's dependencies would stop this one from forking simulated sites."""
    pytest.importorskip("flare_deploy")
    for name, text in {"network.py": NETWORK, "client.py": SCRIPT, "job.py": BOTH}.items():
        write(tmp_path, name, text)
    environment = {**os.environ, "FLARE_WORKSPACE": str(tmp_path / "runs")}
    done = subprocess.run([sys.executable, "job.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = [line.removeprefix("came to ") for line in done.stdout.splitlines() if line.startswith("came to ")]
    models = [(tmp_path / folder / "server" / "global_model.safetensors").read_bytes() for folder in folders]
    assert len(models) == 2
    assert models[0] == models[1]
