"""A PyTorch model is exported as an ExecuTorch training program, which ten devices run."""

import torch
from data import DEVICES, load
from devices import Digits
from model import Net

from flare_edge import DeviceManagerConfig, ETFedBuffRecipe, ModelManagerConfig, SimulationConfig
from flare_runtime import SimEnv

torch.manual_seed(0)
torch.set_num_threads(1)
net = Net()
recipe = ETFedBuffRecipe(
    job_name="edge-executorch",
    device_model=net,
    input_shape=(16, 1, 8, 8),
    output_shape=(16,),
    device_training_params={"lr": 0.1, "epochs": 2, "batch_size": 16},
    model_manager_config=ModelManagerConfig(max_model_version=15, num_updates_for_model=DEVICES),
    device_manager_config=DeviceManagerConfig(device_selection_size=DEVICES, min_hole_to_fill=DEVICES),
    simulation_config=SimulationConfig(Digits(), num_devices=DEVICES, num_workers=2),
)
run = recipe.execute(SimEnv(num_clients=1))

net.load_state_dict({name: torch.as_tensor(value) for name, value in run.load_model().items()})
test = load()[1]
with torch.no_grad():
    found = net(torch.from_numpy(test.inputs).reshape(-1, 1, 8, 8)).argmax(dim=1)
print(f"accuracy of the PyTorch model on 360 unseen digits: {(found.numpy() == test.targets).mean():.3f}")
