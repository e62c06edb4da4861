"""40 devices at two gateways learn to read digits, each from the few that it has."""

from data import DEVICES, load
from devices import Digits

from flare_edge import (
    DeviceManagerConfig,
    EdgeFedBuffRecipe,
    EvaluatorConfig,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge.device.programs import initial_params, program_from
from flare_runtime import SimEnv

CONFIG = {
    "program": {"kind": "mlp", "layers": [64, 32, 10], "activation": "relu", "loss": "cross_entropy"},
    "lr": 0.1,
    "epochs": 3,
    "batch_size": 8,
    "filters": [{"kind": "clip", "norm": 4.0}],
}

recipe = EdgeFedBuffRecipe(
    job_name="edge-digits",
    model=initial_params(CONFIG, seed=0),
    model_manager_config=ModelManagerConfig(max_model_version=30, num_updates_for_model=15, staleness_weight=True),
    device_manager_config=DeviceManagerConfig(device_selection_size=30),
    evaluator_config=EvaluatorConfig(eval_frequency=5, num_devices=30),
    simulation_config=SimulationConfig(Digits(), num_devices=DEVICES // 2, num_workers=10),
    device_config=CONFIG,
)


def accuracy(params):
    return program_from(CONFIG).evaluate(params, load()[1])["accuracy"]


if __name__ == "__main__":
    run = recipe.execute(SimEnv(num_clients=2))
    print(f"accuracy on 360 unseen digits, of the initial model: {accuracy(initial_params(CONFIG, seed=0)):.3f}")
    print(f"accuracy on 360 unseen digits, of the last version: {accuracy(run.load_model()):.3f}")
    print(f"accuracy on 360 unseen digits, of the best version: {accuracy(run.load_model('best')):.3f}")
