"""The same training with devices that are processes of their own: each knows a link, and speaks HTTPS."""

import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from data import load
from job import CONFIG, accuracy

from flare_edge import DeviceManagerConfig, EdgeFedBuffRecipe, ModelManagerConfig
from flare_edge.device.programs import initial_params
from flare_edge.gateway.prepare import prepare_gateway
from flare_runtime import SimEnv

DEVICES = 8  # all of them work on each version: synchronous rounds
folder = Path(tempfile.mkdtemp())
workspace = folder / "flare-runs"
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
link = prepare_gateway(workspace / "local" / "site-1", listen=f"127.0.0.1:{port}")

devices = []
for number, examples in enumerate(load()[0][::5]):
    path = folder / f"device-{number}.csv"
    np.savetxt(path, np.column_stack([examples.inputs, examples.targets]), fmt="%g", delimiter=",")
    command = [sys.executable, "-m", "flare_edge.device", link, "--csv", str(path), "--name", f"device-{number}"]
    devices.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

recipe = EdgeFedBuffRecipe(
    job_name="edge-digits-real",
    model=initial_params(CONFIG, seed=0),
    model_manager_config=ModelManagerConfig(max_model_version=15, num_updates_for_model=DEVICES),
    device_manager_config=DeviceManagerConfig(device_selection_size=DEVICES, min_hole_to_fill=DEVICES),
    device_config=CONFIG,
)
run = recipe.execute(SimEnv(num_clients=1, workspace_root=workspace))
for number, device in enumerate(devices):
    device.terminate()  # if it has not heard yet that the run is over
    print(f"device-{number} trained {device.communicate()[0].count(': train,')} times")
print(f"accuracy on 360 unseen digits, of the last version: {accuracy(run.load_model()):.3f}")
shutil.rmtree(folder)
