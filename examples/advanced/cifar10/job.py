"""Compare algorithms on small colour images that are split unevenly among sites."""

import argparse
import contextlib
import importlib
import io
import os
from pathlib import Path

import numpy as np
from data import deal, load_images

from flare_runtime import SimEnv

ALGORITHMS = ["fedavg", "fedprox", "fedopt", "scaffold"]
NAMES = {"pytorch": "PyTorch", "keras": "Keras"}

parser = argparse.ArgumentParser()
parser.add_argument("--algorithm", choices=[*ALGORITHMS, "all"], nargs="+", default=["all"], help="one or several")
parser.add_argument("--framework", choices=list(NAMES), default="pytorch")
parser.add_argument("--alpha", type=float, default=0.3, help="concentration of the Dirichlet draw; small is uneven")
parser.add_argument("--sites", type=int, default=10)
parser.add_argument("--rounds", type=int, default=25)
parser.add_argument("--steps", type=int, default=20, help="local training steps per round")
parser.add_argument("--lr", type=float, default=0.02, help="learning rate")
parser.add_argument("--scaffold-lr", type=float, default=0.01, help="SCAFFOLD's learning rate, for shorter steps")
parser.add_argument("--mu", type=float, default=0.01, help="strength of FedProx's proximal term")
parser.add_argument("--momentum", type=float, default=0.8, help="momentum of FedOpt's server optimizer")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--data", default=os.environ.get("CIFAR10_FOLDER"), help="the folder cifar-10-batches-bin")
args = parser.parse_args()

framework = importlib.import_module(f"{args.framework}_model")
folder = str(Path(args.data).expanduser().absolute()) if args.data else None


def federated(algorithm):
    """Return the accuracy of an algorithm with all sites."""
    optimizer = {"class_path": "flare_core.optimizers.SGD", "args": {"lr": 1.0, "momentum": args.momentum}}
    lr = args.scaffold_lr if algorithm == "scaffold" else args.lr
    train_args = ["--algorithm", algorithm, f"--lr={lr}"]
    train_args += [f"--{name}={getattr(args, name)}" for name in ("alpha", "sites", "steps", "mu", "seed")]
    if folder:
        train_args += ["--data", folder]
    recipe = framework.RECIPES[algorithm](
        name=f"cifar10-{algorithm}",
        min_clients=args.sites,
        num_rounds=args.rounds,
        initial_model=framework.make_model(args.seed),
        train_script=f"{args.framework}_client.py",
        train_args=train_args,
        key_metric=None,
        **({"optimizer_args": optimizer} if algorithm == "fedopt" else {}),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # hide the progress of each run
        run = recipe.execute(SimEnv(num_clients=args.sites))
    model = framework.make_model(args.seed)
    framework.put_params(model, run.load_model("global"))
    return framework.accuracy(model, test_images, test_labels)


def trained_on(images, labels):
    """Return the accuracy after training on these images for as many steps as one site makes in all rounds."""
    model = framework.make_model(args.seed)
    framework.train(model, images, labels, args.rounds * args.steps, args.lr, args.seed)
    return framework.accuracy(model, test_images, test_labels)


images, labels, test_images, test_labels = load_images(folder)
dealt = deal(labels, args.sites, args.alpha, args.seed)
sizes = [len(mine) for mine in dealt]
classes = [len(np.unique(labels[mine])) for mine in dealt]
print(f"{len(labels)} images of {'CIFAR-10' if folder else 'ten photographs'}, and {len(test_labels)} for the test")
print(f"{args.sites} sites: {min(sizes)} to {max(sizes)} images, {min(classes)} to {max(classes)} classes")
largest = dealt[int(np.argmax(sizes))]
print(f"largest site alone       {trained_on(images[largest], labels[largest]):.3f}", flush=True)
for algorithm in ALGORITHMS if "all" in args.algorithm else args.algorithm:
    print(f"{f'{algorithm} with {NAMES[args.framework]}':<24} {federated(algorithm):.3f}", flush=True)
print(f"all images in one place  {trained_on(images, labels):.3f}")
