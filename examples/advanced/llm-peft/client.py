"""One site: ordinary training with a Hugging Face Trainer that receives and sends the adapter."""

import argparse

import numpy as np
from data import TOPICS, load_site
from model import LENGTH, load_model, load_tokenizer
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

import flare_recipes_pt.transformers as flare

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
args = parser.parse_args()


def accuracy(predicted):
    return {"accuracy": np.mean(predicted.predictions.argmax(axis=-1) == predicted.label_ids)}


flare.init()
tokenizer = load_tokenizer(args.model)
texts = [
    {**tokenizer(text, truncation=True, max_length=LENGTH), "labels": topic}
    for text, topic in load_site(flare.get_site_name())
]
held_out = len(texts) // 5
trainer = Trainer(
    model=load_model(args.model, len(TOPICS), tokenizer.pad_token_id),
    args=TrainingArguments(
        output_dir="trainer",
        num_train_epochs=1,
        per_device_train_batch_size=16,
        learning_rate=2e-3,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    ),
    train_dataset=texts[held_out:],
    eval_dataset=texts[:held_out],
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=accuracy,
)
flare.patch(trainer)

while flare.is_running():
    trainer.evaluate()  # evaluates the received model
    trainer.train()
