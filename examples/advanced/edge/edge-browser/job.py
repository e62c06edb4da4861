"""Digits are learnt in browsers: rehearse with a headless one, or invite people to draw."""

import argparse
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from flare_edge import DeviceManagerConfig, EdgeFedBuffRecipe, ModelManagerConfig
from flare_edge.browser import text
from flare_edge.device.data import from_arrays
from flare_edge.device.programs import initial_params, program_from
from flare_edge.gateway.prepare import prepare_gateway
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--listen", help="invite people: this machine's address and a port, such as 192.168.1.7:8443")
parser.add_argument("--versions", type=int, default=15, help="the run ends with this version")
parser.add_argument("--updates", type=int, default=1, help="a version is made of so many updates")
parser.add_argument("--rest", type=float, default=0.0, help="browsers rest for so many seconds after each task")
args = parser.parse_args()

CONFIG = {
    "program": {"kind": "mlp", "layers": [64, 32, 10], "activation": "relu", "loss": "cross_entropy"},
    "lr": 0.1,
    "epochs": 5,
    "batch_size": 8,
    "filters": [{"kind": "clip", "norm": 4.0}],
    "rest_s": args.rest,
    "data": {"kind": "image", "width": 8, "height": 8, "labels": [str(digit) for digit in range(10)], "scale": 16},
}
images, labels = load_digits(return_X_y=True)
workspace = Path("flare-runs")
local = workspace / "local" / "site-1"
shutil.rmtree(local, ignore_errors=True)  # of an earlier run: each has a link of its own

listen = args.listen
if listen is None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
link = prepare_gateway(local, listen=listen)

visitor = None
if args.listen is None:
    path = (workspace / "digits.csv").absolute()
    np.savetxt(path, np.column_stack([images, labels])[:300], fmt="%d", delimiter=",")
    command = [sys.executable, "visitor.py", link, str(path), "page.png"]
    visitor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
else:
    print(f"{text(link)}\n{link}\n")

recipe = EdgeFedBuffRecipe(
    job_name="handwritten-digits",
    description="Draw digits; everyone who opens the link teaches one model to read them.",
    model=initial_params(CONFIG, seed=0),
    model_manager_config=ModelManagerConfig(
        max_model_version=args.versions, num_updates_for_model=args.updates, update_timeout=0.2
    ),
    device_manager_config=DeviceManagerConfig(device_selection_size=2 * args.updates),
    device_config=CONFIG,
)
run = recipe.execute(SimEnv(num_clients=1, workspace_root=workspace))
if visitor is not None:
    print(visitor.communicate()[0], end="")
measured = program_from(CONFIG).evaluate(run.load_model(), from_arrays(images[300:] / 16, labels[300:]))
print(f"accuracy on 1497 digits that nobody has shown it: {measured['accuracy']:.3f}")
