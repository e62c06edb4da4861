"""Adapt a pretrained language model to texts that three sites keep to themselves; only the adapter travels."""

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
parser.add_argument("--model", help="a folder, or a name on the Hugging Face hub; else a small sentence encoder")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--sites", nargs="+", default=SITES, help="the sites that take part; 'all' is one with all texts")
args = parser.parse_args()
name = args.model or default_model()
if Path(name).exists():
    name = str(Path(name).resolve())  # the sites run elsewhere


@torch.no_grad()
def accuracy(state):
    """How much of the test the model gets right with that adapter and head."""
    set_peft_model_state_dict(model, state)
    texts, topics = zip(*load_test(), strict=True)
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    return (model.eval()(**tokens).logits.argmax(dim=1) == torch.tensor(topics)).float().mean().item()


tokenizer = load_tokenizer(name)
model = load_model(name, len(TOPICS), tokenizer.pad_token_id)
travels = {key: value.clone() for key, value in shared_state(model).items()}
recipe = FedAvgRecipe(
    name="llm-peft",
    min_clients=len(args.sites),
    num_rounds=args.rounds,
    initial_model=travels,
    key_metric="eval_accuracy",
    train_script="client.py",
    train_args=["--model", name],
)
run = recipe.execute(SimEnv(clients=args.sites))

size = sum(value.nbytes for value in model.parameters())
sent = run.summary()["bytes"]["rounds"][-1]["received"] / len(args.sites)
trained, whole = model.get_nb_trainable_parameters()
print(f"parameters: {whole:,}, of which {trained:,} travel")
print(f"sent by a site in a round: {sent / 2**10:.0f} KiB, where the whole model is {size / 2**20:.0f} MiB")
print(f"accuracy on {len(load_test())} texts that no site has seen, before: {accuracy(travels):.3f}")
print(f"accuracy on {len(load_test())} texts that no site has seen, after: {accuracy(run.load_model('global')):.3f}")
