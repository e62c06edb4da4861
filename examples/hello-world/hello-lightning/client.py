"""One site: ordinary Lightning training, with the model coming from and going to the federation."""

import argparse

from data import load_site
from lightning.pytorch import Trainer
from model import Net

import flare_recipes_pt.lightning as flare

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3)
args = parser.parse_args()

flare.init()
training, measuring = load_site(flare.get_site_name(), args.sites)
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
    trainer.validate(net, measuring, verbose=False)  # the model as it came
    trainer.fit(net, training)
