"""One site, with PyTorch: local training, and the additions of each algorithm."""

import argparse

import torch
from data import batches, load_site
from pytorch_model import Net, tensor

import flare_core.client as flare
from flare_recipes_pt import ProximalLoss, Scaffold

parser = argparse.ArgumentParser()
parser.add_argument("--algorithm", choices=["fedavg", "fedprox", "fedopt", "scaffold"], default="fedavg")
parser.add_argument("--alpha", type=float, default=0.3)
parser.add_argument("--sites", type=int, default=10)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.02)
parser.add_argument("--mu", type=float, default=0.01)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--data")
args = parser.parse_args()

flare.init()
number = int(flare.get_site_name().removeprefix("site-"))
images, labels = load_site(number, args.sites, args.alpha, args.seed, args.data)
net = Net()
proximal = ProximalLoss(net, mu=args.mu) if args.algorithm == "fedprox" else None
scaffold = Scaffold(net) if args.algorithm == "scaffold" else None

while flare.is_running():
    received = flare.receive()
    net.load_state_dict(received.params)
    for helper in (proximal, scaffold):
        if helper:
            helper.start(received)
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr)
    for x, y in batches(images, labels, args.steps, seed=[args.seed, number, received.current_round]):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(tensor(x)), torch.from_numpy(y))
        (loss + proximal() if proximal else loss).backward()
        if scaffold:
            scaffold.correct()
        optimizer.step()
    controls = scaffold.finish(args.steps, args.lr) if scaffold else None
    flare.send(
        flare.FLModel(params=net.state_dict(), optimizer_params=controls, meta={"NUM_STEPS_CURRENT_ROUND": len(labels)})
    )
