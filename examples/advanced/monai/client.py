"""One site: MONAI's own trainer and evaluator, in a loop that receives and sends the network's parameters."""

import argparse
import logging
from pathlib import Path

import torch
from data import VALIDATION, scans_in
from model import DEVICE, Net, evaluator, loader
from monai.engines import SupervisedTrainer
from monai.handlers import StatsHandler, from_engine
from monai.losses import DiceCELoss

import flare_core.client as flare

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=4, help="local epochs of a round")
args = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(message)s")  # StatsHandler logs the losses, to the site's log.txt

flare.init()
scans = scans_in(args.folder)
net = Net().to(DEVICE)
validation = evaluator(net, scans[:VALIDATION])
trainer = SupervisedTrainer(
    device=DEVICE,
    max_epochs=args.epochs,
    train_data_loader=loader(scans[VALIDATION:], shuffle=True),
    network=net,
    optimizer=torch.optim.Adam(net.parameters(), lr=5e-3),
    loss_function=DiceCELoss(sigmoid=True),
    train_handlers=[StatsHandler(tag_name="loss", output_transform=from_engine(["loss"], first=True))],
)

while flare.is_running():
    received = flare.receive()
    net.load_state_dict(received.params)
    validation.run()  # of the received network
    trainer.run()
    flare.send(
        flare.FLModel(
            params=net.state_dict(),
            metrics={"dice": validation.state.metrics["dice"]},
            meta={"NUM_STEPS_CURRENT_ROUND": trainer.state.iteration},
        )
    )
