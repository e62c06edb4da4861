"""One site: local training, and the additions of each algorithm."""

import argparse

import torch
from data import load_sites
from model import Net

import flare_core.client as flare
from flare_recipes_pt import ProximalLoss, Scaffold

parser = argparse.ArgumentParser()
parser.add_argument("--algorithm", choices=["fedavg", "fedprox", "fedopt", "scaffold", "cyclic"], default="fedavg")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()

flare.init()
images, labels = load_sites()[int(flare.get_site_name().removeprefix("site-")) - 1]
net = Net()
proximal = ProximalLoss(net, mu=0.1) if args.algorithm == "fedprox" else None
scaffold = Scaffold(net) if args.algorithm == "scaffold" else None

while flare.is_running():
    received = flare.receive()
    net.load_state_dict(received.params)
    for helper in (proximal, scaffold):
        if helper:
            helper.start(received)
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr)
    steps = 0
    for _ in range(args.epochs):
        for rows in torch.randperm(len(labels)).split(32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(images[rows]), labels[rows])
            (loss + proximal() if proximal else loss).backward()
            if scaffold:
                scaffold.correct()
            optimizer.step()
            steps += 1
    controls = scaffold.finish(steps, args.lr) if scaffold else None
    flare.send(
        flare.FLModel(params=net.state_dict(), optimizer_params=controls, meta={"NUM_STEPS_CURRENT_ROUND": len(labels)})
    )
