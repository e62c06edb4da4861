"""Adapt a pretrained language model to texts that three sites keep to themselves; only the adapter travels."""

import argparse

import torch
from data import SITES, TOPICS, load_test
from model import LENGTH, default_model, load_model, load_tokenizer
from peft import set_peft_model_state_dict

from flare_recipes_pt import FedAvgRecipe
from flare_recipes_pt.transformers import shared_state
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--model", help="a folder, or a name on the Hugging Face hub; else a small sentence encoder")
parser.add_argument("--rounds", type=int, default=8)
args = parser.parse_args()
name = args.model or default_model()


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
    min_clients=SITES,
    num_rounds=args.rounds,
    initial_model=travels,
    key_metric="eval_accuracy",
    train_script="client.py",
    train_args=["--model", name],
)
run = recipe.execute(SimEnv(num_clients=SITES))

whole = sum(value.numel() for value in model.parameters())
count = sum(value.numel() for value in travels.values())
sent = run.summary()["bytes"]["rounds"][0]["sent"] / SITES
print(f"parameters that travel: {count:,} of {whole:,}, {count / whole:.2%}")
print(f"accuracy before: {accuracy(travels):.3f}")
print(f"accuracy after: {accuracy(run.load_model('global')):.3f}")
