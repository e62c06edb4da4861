"""Train one U-Net on the scans of three sites, and measure it on scans that none of them has seen."""

import torch
from data import FOLDER, SCANNERS, make, scans_in
from model import DEVICE, Net, evaluator

from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

folders = make()
torch.manual_seed(0)
recipe = FedAvgRecipe(
    name="monai",
    min_clients=len(folders),
    num_rounds=6,
    initial_model=Net(),
    train_script="client.py",
    key_metric="dice",
    per_site_config={site: {"train_args": [str(folder)]} for site, folder in folders.items()},
)
run = recipe.execute(SimEnv(clients=list(folders)))

net = Net().to(DEVICE)
net.load_state_dict(run.load_model("best"))
scores = {}
for site in SCANNERS:
    test = evaluator(net, scans_in(FOLDER / "test" / site))
    test.run()
    scores[site] = test.state.metrics["dice"]
    print(f"Dice on 16 new scans of the {site}'s scanner: {scores[site]:.3f}")
print(f"Dice on all of them: {sum(scores.values()) / len(scores):.3f}")
