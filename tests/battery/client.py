"""The script that the sites of the battery run; its argument says which site waits where, and when."""

import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
from sites import RATE, STEPS, TRAINED, accuracy, trained

import flare_core.client as flare

flare.init()
plan = json.loads(sys.argv[1])
number = int(flare.get_site_name().removeprefix("site-"))


def is_due(what, round_):
    return plan.get(what) in ([number, round_], [0, round_])  # 0 stands for any site


def wait(name):
    """Wait until another site calls let_go with this name."""
    with open(plan["folder"] + "/" + name) as pipe:
        pipe.read()


def let_go(name):
    with open(plan["folder"] + "/" + name, "w"):
        pass


def ask():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(plan["gate"])
        connection.sendall(f"{flare.get_site_name()} {os.getpid()}".encode())
        connection.recv(1)


def own_controls(model, like):
    """Return the controls at the start of a round: those of the last round whose reply was used."""
    limit = min(model.current_round, model.meta.get("not_used_since", model.current_round))
    rounds = [int(path.stem.partition("-")[2]) for path in Path().glob("own-*.npz")]
    before = max((each for each in rounds if each < limit), default=None)
    return {key: np.zeros_like(like[key]) for key in TRAINED} if before is None else dict(np.load(f"own-{before}.npz"))


while flare.is_running():
    model = flare.receive()
    x = {key: np.array(value) for key, value in model.params.items()}
    round_ = model.current_round
    if is_due("ask_before", round_):
        ask()
    if is_due("let_go", round_):
        let_go("late")
        if "last" in plan:
            wait("last")
    if is_due("late", round_):
        wait("late")
    sent = None
    if model.optimizer_params:
        own = own_controls(model, x)
        c = model.optimizer_params
        y = trained(x, number, {key: c[key] - own[key] for key in TRAINED})
        sent = {key: np.asarray((x[key] - y[key]) / (STEPS * RATE) - c[key], x[key].dtype) for key in TRAINED}
        np.savez(f"own-{round_}.npz", **{key: own[key] + sent[key] for key in TRAINED})
    else:
        y = trained(x, number)
    y = {key: np.asarray(y[key], x[key].dtype) for key in x}
    metrics, meta = {"accuracy": accuracy(x, number)}, {"NUM_STEPS_CURRENT_ROUND": number}
    flare.send(flare.FLModel(params=y, optimizer_params=sent, metrics=metrics, meta=meta))
    if is_due("ask_after", round_):
        ask()
if plan.get("last") == number:
    let_go("last")
