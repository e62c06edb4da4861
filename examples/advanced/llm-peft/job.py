"""Adapt a pretrained language model to texts that stay at three sites; only the adapter is exchanged."""

import argparse
from pathlib import Path

import torch
from data import SITES, TOPICS, load_test
from model import LENGTH, default_model, load_model, load_tokenizer
from peft import set_peft_model_state_dict

from flare_recipes_pt import FedAvgRecipe
from flare_recipes_pt.transformers import shared_state
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--model", help="a folder or a name on the Hugging Face Hub; default: a small sentence encoder")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--sites", nargs="+", default=SITES, help="participating sites; 'all' is one site with all texts")
args = parser.parse_args()
name = args.model or default_model()
if Path(name).exists():
    name = str(Path(name).resolve())  # sites run in other folders


@torch.no_grad()
def accuracy(state):
    """Return the accuracy on the test texts with this adapter and head."""
    set_peft_model_state_dict(model, state)
    texts, topics = zip(*load_test(), strict=True)
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    return (model.eval()(**tokens).logits.argmax(dim=1) == torch.tensor(topics)).float().mean().item()


tokenizer = load_tokenizer(name)
model = load_model(name, len(TOPICS), tokenizer.pad_token_id)
initial = {key: value.clone() for key, value in shared_state(model).items()}
recipe = FedAvgRecipe(
    name="llm-peft",
    min_clients=len(args.sites),
    num_rounds=args.rounds,
    initial_model=initial,
    key_metric="eval_accuracy",
    train_script="client.py",
    train_args=["--model", name],
)
run = recipe.execute(SimEnv(clients=args.sites))

size = sum(value.nbytes for value in model.parameters())
sent = run.summary()["bytes"]["rounds"][-1]["received"] / len(args.sites)
trained, total = model.get_nb_trainable_parameters()
print(f"parameters: {total:,}, of which {trained:,} are exchanged")
print(f"sent by a site in a round: {sent / 2**10:.0f} KiB; the full model has {size / 2**20:.0f} MiB")
print(f"accuracy on {len(load_test())} texts that no site has seen, before: {accuracy(initial):.3f}")
print(f"accuracy on {len(load_test())} texts that no site has seen, after: {accuracy(run.load_model('global')):.3f}")
