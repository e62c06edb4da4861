"""Jobs with a Keras model that are put together part by part."""

import importlib.util
import subprocess
import sys

import pytest

if importlib.util.find_spec("tensorflow") is None:  # importing it takes long
    pytest.skip("TensorFlow is not installed", allow_module_level=True)

JOB = """
import sys

import keras
from nvflare.app_opt.tf.fedopt_ctl import FedOpt
from nvflare.app_opt.tf.job_config.model import TFModel
from nvflare.app_opt.tf.recipes import FedAvgRecipe
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import FrameworkType, ScriptRunner
from nvflare.recipe import SimEnv
from net import Net

job = FedJob(name="fedopt")
job.to_server(
    FedOpt(
        num_clients=2,
        num_rounds=2,
        optimizer_args={"path": "tensorflow.keras.optimizers.SGD", "args": {"learning_rate": 1.0, "momentum": 0.25}},
        lr_scheduler_args={
            "path": "tensorflow.keras.optimizers.schedules.PolynomialDecay",
            "args": {"initial_learning_rate": 1.0, "decay_steps": None, "end_learning_rate": 0.0},
        },
    )
)
Net(2)  # an earlier model, so that the names of the next one's layers are other than at sites
job.to_server(TFModel(Net(2)))
for site in ("site-1", "site-2"):
    job.to(ScriptRunner("train.py", framework=FrameworkType.TENSORFLOW), site)
job.simulator_run(sys.argv[1])
model = Net(2)
model(keras.ops.zeros((1, 2)))
model.load_weights(sys.argv[1] + "/server/simulate_job/app_server/tf_model.weights.h5")
described = {"class_path": "net.Net", "args": {"units": 2}}
recipe = FedAvgRecipe(name="averaging", min_clients=2, num_rounds=1, model=described, train_script="train.py")
folder = recipe.execute(SimEnv(num_clients=2, workspace_root=sys.argv[1] + "/recipes")).get_result()
averaged = Net(2)
averaged(keras.ops.zeros((1, 2)))
averaged.load_weights(folder + "/server/simulate_job/app_server/tf_model.weights.h5")
print("averaged", averaged.dense.get_weights()[0].tolist())
print("kernel", model.dense.get_weights()[0].tolist(), "mean", model.get_layer("norm").get_weights()[2])
"""
NET = """
import keras


class Net(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.units = units
        self._input_shape = (None, 2)
        self.flat = keras.layers.Flatten(name="flat")
        self.dense = keras.layers.Dense(units, kernel_initializer="zeros")
        self.norm = keras.layers.BatchNormalization(name="norm")

    def call(self, x):
        return self.norm(self.dense(self.flat(x)))
"""
SCRIPT = """
import keras
import nvflare.client as flare
from net import Net

net = Net(2)
net(keras.ops.zeros((1, 2)))
flare.init()
while flare.is_running():
    model = flare.receive()
    for name, weights in model.params.items():
        net.get_layer(name).set_weights(weights)
    params = {name: [weight + 1 for weight in weights] for name, weights in model.params.items()}
    flare.send(flare.FLModel(params={"flat": [], **params}))
"""


@pytest.mark.timeout(330)
def test_a_controller_takes_steps_of_an_optimizer_of_keras_and_averages_statistics(tmp_path):
    for name, text in (("job.py", JOB), ("net.py", NET), ("train.py", SCRIPT)):
        (tmp_path / name).write_text(text)
    line = [sys.executable, "job.py", str(tmp_path / "runs")]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    kernel = 1 + (0.25 * 1 + 0.5 * 1)  # the second step: momentum, and half the rate
    assert f"kernel {[[kernel] * 2] * 2} mean [2. 2.]" in done.stdout
    assert "averaged [[1.0, 1.0], [1.0, 1.0]]" in done.stdout
