"""C27: values land in the right layer of a Keras model, however often and wherever the model was built.

TensorFlow is loaded in separate processes only: a process that has loaded it cannot fork workers.
"""

from __future__ import annotations

import importlib.util
import json

import pytest

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("keras", "tensorflow"))), reason="Keras on TensorFlow is not installed"
)

NETS = """
    import keras
    from keras import layers


    def sequential():
        return keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(4),
                layers.Dense(4),
                layers.Dense(4),
                layers.BatchNormalization(),
                layers.Dropout(0.5),
                layers.Dense(4),
            ]
        )


    def functional():
        start = keras.Input((4,))
        shared = layers.Dense(4)
        x = layers.Dense(4)(layers.Dense(4)(shared(start)))
        x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
        return keras.Model(start, layers.Add()([shared(x), layers.Dense(4)(x)]))


    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.last, self.second, self.third, self.first = (layers.Dense(4) for _ in range(4))
            self.norm, self.drop = layers.BatchNormalization(), layers.Dropout(0.5)

        def call(self, x):
            return self.last(self.drop(self.norm(self.third(self.second(self.first(self.first(x)))))))


    def subclassed():
        model = Subclassed()
        model(keras.ops.ones((1, 4)))
        return model


    def fill(model):
        '''Fill every weight with a number of its own, and return them by layer and name.'''
        number = 0
        for layer in dense_and_norm(model):
            for weight in layer.weights:
                number += 1
                weight.assign(keras.ops.full(weight.shape, float(number)))
        return numbers(model)


    def numbers(model):
        return [
            [(weight.name, float(keras.ops.mean(weight)), float(keras.ops.std(weight))) for weight in layer.weights]
            for layer in dense_and_norm(model)
        ]


    def dense_and_norm(model):
        kinds = (layers.Dense, layers.BatchNormalization)
        return [layer for layer in model.layers if isinstance(layer, kinds)]
"""

CLIENT = """
    import sys

    import keras
    import nets
    import flare_core.client as flare
    from flare_recipes_tf import get_params, set_params

    flare.init()
    for _ in range(int(flare.get_site_name()[-1])):  # so that automatic names differ from site to site
        keras.layers.Dense(4)
        getattr(nets, sys.argv[1])()
    model = getattr(nets, sys.argv[1])()
    wanted = nets.fill(getattr(nets, sys.argv[1])())
    while flare.is_running():
        set_params(model, flare.receive().params)
        assert nets.numbers(model) == wanted, nets.numbers(model)
        flare.send(flare.FLModel(params=get_params(model)))
"""

JOB = """
    import json
    import sys

    import nets
    from flare_recipes_tf import FedAvgRecipe, set_params
    from flare_runtime import SimEnv

    make = getattr(nets, sys.argv[1])
    make()
    model = make()
    wanted = nets.fill(model)
    recipe = FedAvgRecipe(
        min_clients=2, num_rounds=2, initial_model=model, train_script="client.py", train_args=sys.argv[1]
    )
    run = recipe.execute(SimEnv(num_clients=2))
    other = make()
    set_params(other, run.load_model())
    print(json.dumps([wanted, nets.numbers(other)]))
"""

UNBUILT = """
    import nets
    from flare_recipes_tf import FedAvgRecipe

    FedAvgRecipe(min_clients=2, initial_model=nets.Subclassed(), train_script="client.py")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["subclassed", *(pytest.param(each, marks=pytest.mark.at_length) for each in ("sequential", "functional"))]
)
def test_values_land_in_the_right_layer_at_the_sites_and_after_the_run(project, kind):
    project.write("nets.py", NETS)
    project.write("client.py", CLIENT)
    done = project.python(str(project.write("job.py", JOB)), kind, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted, found = json.loads(done.stdout.splitlines()[-1])
    assert found == wanted
    norm = next(layer for layer in wanted if len(layer) == 4)
    assert [name for name, _, _ in norm] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert len({mean for layer in found for _, mean, _ in layer}) == 12  # no two weights hold the same number


@pytest.mark.slow
def test_an_unbuilt_model_is_refused_with_a_remedy(project):
    project.write("nets.py", NETS)
    project.write("client.py", CLIENT)
    done = project.python(str(project.write("job.py", UNBUILT)))
    assert done.returncode != 0
    assert "begin it with keras.Input(shape=...), or call it once on some data" in done.stderr
