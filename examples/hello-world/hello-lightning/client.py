"""One site: ordinary Lightning training that receives and sends the model."""

import argparse

from data import load_site
from lightning.pytorch import Trainer
from model import Net

import flare_recipes_pt.lightning as flare

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3)
args = parser.parse_args()

flare.init()
training, validation = load_site(flare.get_site_name(), args.sites)
net = Net()
trainer = Trainer(
    accelerator="cpu",  # the network is too small for a GPU to help
    max_epochs=2,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
flare.patch(trainer)

while flare.is_running():
    trainer.validate(net, validation, verbose=False)  # evaluates the received model
    trainer.fit(net, training)
