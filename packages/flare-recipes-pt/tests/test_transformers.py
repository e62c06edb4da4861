"""Runs of a patched transformers Trainer: results equal to a plain loop's, and PEFT models exchange only adapters."""

from __future__ import annotations

import json
import textwrap

import pytest
import torch

from flare_core import JobFailed
from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = [
    pytest.mark.filterwarnings("default"),  # the libraries use each other's deprecated functions
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

MODEL = """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification

    def bert():
        torch.manual_seed(0)
        sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        dropout = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        return BertForSequenceClassification(BertConfig(vocab_size=30, num_labels=2, **sizes, **dropout))

    def adapted(rank=2):
        return get_peft_model(bert(), LoraConfig(task_type="SEQ_CLS", r=rank, target_modules=["query", "value"]))

    def data_of(site):
        generator = torch.Generator().manual_seed(int(site[-1]))
        tokens = torch.randint(1, 30, (16, 5), generator=generator)
        return [{"input_ids": row, "labels": int(row[1] > 15)} for row in tokens]
"""

PATCHED = """
    import argparse

    import torch
    from model import adapted, bert, data_of
    from transformers import Trainer, TrainingArguments

    import flare_recipes_pt.transformers as flare

    parser = argparse.ArgumentParser()
    parser.add_argument("--restore", type=int, default=1)
    parser.add_argument("--rank", type=int, default=2)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()

    class InOrder(Trainer):
        def _get_train_sampler(self, dataset=None):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    flare.init()
    data = data_of(flare.get_site_name())
    model = bert() if options.full else adapted(options.rank)
    base = {key: value.clone() for key, value in model.state_dict().items() if "base_layer" in key}
    assert options.full or base
    settings = dict(learning_rate=0.05, max_grad_norm=0, weight_decay=0, lr_scheduler_type="linear", logging_steps=999)
    trainer = InOrder(
        model=model,
        args=TrainingArguments(
            output_dir="out",
            num_train_epochs=2,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=16,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            optim="sgd",
            optim_args="momentum=0.9",
            **settings,
        ),
        train_dataset=data,
        eval_dataset=data,
    )
    flare.patch(trainer, restore_state=bool(options.restore))
    flare.patch(trainer)  # a second call has no effect
"""

LOOP = """
    while flare.is_running():
        trainer.evaluate()
        output = trainer.train()
        trainer.evaluate()  # metrics of the trained model are not sent
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in base.items())
"""

PLAIN = """
    import sys

    import torch
    from model import bert, data_of

    import flare_core.client as flare

    flare.init()
    model = bert()
    data = data_of(flare.get_site_name())
    batches = [data[start : start + 4] for start in range(0, 16, 4)]

    def loss_of(rows):
        tokens, labels = torch.stack([row["input_ids"] for row in rows]), torch.tensor([row["labels"] for row in rows])
        return model(input_ids=tokens, labels=labels).loss

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    while flare.is_running():
        received = flare.receive()
        model.load_state_dict(received.params)
        if sys.argv[2] == "0":
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        model.eval()
        with torch.no_grad():
            metrics = {"eval_loss": loss_of(data).item()}
        model.train()
        for step in range(8):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 8)
            optimizer.zero_grad()
            loss_of(batches[step % 4]).backward()
            optimizer.step()
        flare.send(flare.FLModel(params=model.state_dict(), metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": 8}))
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "model.py").write_text(textwrap.dedent(MODEL))
    names: dict = {}
    exec(textwrap.dedent(MODEL), names)
    return tmp_path, names


@pytest.fixture
def run_script(project):
    """Run a script at two sites, and return the run."""
    folder, _ = project

    def run(script: str, model, arguments: str = "", *, rounds: int = 2, sites: int = 2, **more):
        path = folder / "client.py"
        path.write_text("".join(textwrap.dedent(part) for part in script.split("###")))
        recipe = FedAvgRecipe(
            min_clients=sites,
            num_rounds=rounds,
            initial_model=model,
            train_script=path,
            train_args=arguments,
            key_metric="eval_loss",
            key_metric_mode="min",
            **more,
        )
        return recipe.execute(SimEnv(num_clients=sites, workspace_root=folder / "runs"))

    return run


def metrics_of(run) -> list[tuple]:
    lines = (run.get_result() / "metrics.jsonl").read_text().splitlines()
    return [(row["round"], row["site"], row["key"], row["value"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("restore", [0, 1])
def test_three_rounds_of_a_full_model_equal_a_plain_loop(run_script, project, restore):
    bert = project[1]["bert"]
    found = run_script(f"{PATCHED}###{LOOP}", bert(), f"--full --restore {restore}", rounds=3)
    wanted = run_script(PLAIN, bert(), f"--restore {restore}", rounds=3)
    for key, value in wanted.load_model().items():
        torch.testing.assert_close(found.load_model()[key], value, rtol=1e-4, atol=1e-6)
    assert [row[:3] for row in metrics_of(found)] == [row[:3] for row in metrics_of(wanted)]
    for ours, plain in zip(metrics_of(found), metrics_of(wanted), strict=True):
        assert ours[3] == pytest.approx(plain[3], rel=1e-5)


def test_only_the_adapter_of_a_peft_model_is_exchanged(run_script, project):
    from flare_recipes_pt.transformers import shared_state

    initial = shared_state(project[1]["adapted"]())
    run = run_script(f"{PATCHED}###{LOOP}", initial)
    final = run.load_model()
    assert final.keys() == initial.keys()
    assert all("lora_" in key or "classifier" in key for key in final)
    assert any("lora_B" in key and value.abs().sum() > 0 for key, value in final.items())  # initially zero
    losses = [value for _, site, key, value in metrics_of(run) if site is None and key == "eval_loss"]
    assert len(losses) == 2
    assert losses[1] < losses[0]


def test_the_error_for_a_full_peft_model_says_what_to_give_instead(run_script, project):
    with pytest.raises(JobFailed, match=r"have different keys.*initial_model=shared_state\(model\)"):
        run_script(f"{PATCHED}###{LOOP}", project[1]["adapted"]())


def test_adapters_of_another_rank_are_refused(run_script, project):
    from flare_recipes_pt.transformers import shared_state

    with pytest.raises(JobFailed, match=r"lora_A\.weight' has shape \(2, 8\) in the received model but \(4, 8\)"):
        run_script(f"{PATCHED}###{LOOP}", shared_state(project[1]["adapted"]()), "--rank 4")


def test_a_second_train_in_a_round_does_nothing_and_several_data_sets_are_one_evaluation(run_script, project):
    from flare_recipes_pt.transformers import shared_state

    script = """
        trainer.eval_dataset = {"own": data, "few": data[:4]}
        while flare.is_running():
            trainer.evaluate()
            assert trainer.train().global_step == 8
            assert trainer.train().global_step == 0
        assert trainer.train().global_step == 8
    """
    run = run_script(f"{PATCHED}###{script}", shared_state(project[1]["adapted"]()))
    assert {key for _, _, key, _ in metrics_of(run)} == {"eval_own_loss", "eval_few_loss"}


def test_two_ranks_train_one_adapter_and_only_the_first_communicates(run_script, project):
    from flare_recipes_pt.transformers import shared_state

    script = PATCHED.replace('optim="sgd"', 'ddp_backend="gloo", optim="sgd"')
    log = """
        state = flare.shared_state(model)
        with open(f"rank-{trainer.args.process_index}.txt", "w") as file:
            file.write(str({key: value.tolist() for key, value in state.items()}))
        torch.distributed.destroy_process_group()
    """
    command = "torchrun --standalone --nproc_per_node 2"
    more = {"sites": 1, "launch_external_process": True, "command": command}
    run = run_script(f"{script}###{LOOP}###{log}", shared_state(project[1]["adapted"]()), **more)
    folder = run.get_result() / "sites" / "site-1"
    first, second = ((folder / f"rank-{rank}.txt").read_text() for rank in (0, 1))
    final = run.load_model()
    assert first == second == str({key: final[key].tolist() for key in eval(first)})


def test_a_trainer_with_model_init_trains_the_received_model(run_script, project):
    bert = project[1]["bert"]
    script = PATCHED.replace("model=model,", "model_init=bert,")
    assert "model_init" in script
    found = run_script(f"{script}###{LOOP}", bert(), "--full", rounds=3)
    wanted = run_script(PLAIN, bert(), "--restore 1", rounds=3)
    for key, value in wanted.load_model().items():
        torch.testing.assert_close(found.load_model()[key], value, rtol=1e-4, atol=1e-6)


def test_resuming_from_a_checkpoint_is_refused(run_script, project):
    script = LOOP.replace("trainer.train()", "trainer.train(resume_from_checkpoint='out/checkpoint-8')")
    with pytest.raises(JobFailed, match=r"resume_from_checkpoint='out/checkpoint-8'\) would train another model"):
        run_script(f"{PATCHED}###{script}", project[1]["bert"](), "--full", rounds=1)


def test_a_script_scheduler_that_has_ended_is_an_error(run_script, project):
    own = """
        trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: max(0, 1 - step / 8))
    """
    with pytest.raises(JobFailed, match=r"in round 1 .*learning rate was 0 in all 8 steps"):
        run_script(f"{PATCHED}###{own}###{LOOP}", project[1]["bert"](), "--full")


def test_a_script_scheduler_may_warm_up_over_rounds_from_zero(run_script, project):
    own = """
        trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: (step // 8) / 8)
    """
    run_script(f"{PATCHED}###{own}###{LOOP}", project[1]["bert"](), "--full", rounds=2)


def test_parameters_trained_outside_the_adapter_are_refused(run_script, project):
    from flare_recipes_pt.transformers import shared_state

    more = "model.base_model.model.bert.pooler.dense.weight.requires_grad_(True)\n"
    with pytest.raises(JobFailed, match=r"1 parameters are trained but.*pooler\.dense\.weight.*modules_to_save"):
        run_script(f"{PATCHED}###{more}###{LOOP}", shared_state(project[1]["adapted"]()), rounds=1)


@pytest.mark.parametrize(("kind", "refused"), [("PromptTuningConfig", False), ("PromptEncoderConfig", True)])
def test_a_prompt_is_exchanged_unless_an_encoder_produces_it(run_script, project, kind, refused):
    import peft

    from flare_recipes_pt.transformers import shared_state

    config = f"{kind}(task_type='SEQ_CLS', num_virtual_tokens=3)"
    script = PATCHED.replace("from model import", f"from peft import {kind}, get_peft_model\n    from model import")
    script = script.replace("adapted(options.rank)", f"get_peft_model(bert(), {config})")
    script = script.replace("assert options.full or base", "")
    initial = shared_state(peft.get_peft_model(project[1]["bert"](), eval(config, vars(peft))))
    if refused:
        with pytest.raises(JobFailed, match=r"prompt_encoder.*cannot be averaged"):
            run_script(f"{script}###{LOOP}", initial, rounds=1)
    else:
        final = run_script(f"{script}###{LOOP}", initial).load_model()
        assert not torch.equal(final["prompt_embeddings"], initial["prompt_embeddings"])


def test_predictions_use_the_received_model(run_script, project):
    loop = """
        while flare.is_running():
            received = {key: value.clone() for key, value in flare.receive().params.items()}
            with torch.no_grad():
                model.classifier.weight.fill_(99.0)
            trainer.predict(data)
            assert torch.equal(model.classifier.weight, received["classifier.weight"])
            trainer.train()
    """
    run_script(f"{PATCHED}###{loop}", project[1]["bert"](), "--full")


def test_evaluations_after_a_failed_training_still_count(run_script, project):
    loop = """
        while flare.is_running():
            rows, trainer.train_dataset = trainer.train_dataset, [{"input_ids": torch.tensor([999]), "labels": 0}] * 4
            try:
                trainer.train()
            except IndexError:
                trainer.train_dataset = rows
            with torch.no_grad():
                model.classifier.weight.fill_(99.0)
            trainer.evaluate()
            trainer.train()
    """
    run = run_script(f"{PATCHED}###{loop}", project[1]["bert"](), "--full", rounds=1)
    wanted = run_script(PLAIN, project[1]["bert"](), "--restore 1", rounds=1)
    for ours, plain in zip(metrics_of(run), metrics_of(wanted), strict=True):
        assert ours[3] == pytest.approx(plain[3], rel=1e-5)


def test_a_trainer_works_without_peft(run_script, project):
    folder, names = project
    without = MODEL.replace("    from peft import LoraConfig, get_peft_model\n", "")
    assert without != MODEL
    (folder / "model.py").write_text(textwrap.dedent(without))
    missing = "import sys\nsys.modules['peft'] = None  # behaves like a missing package\n"
    run = run_script(f"{missing}###{PATCHED}###{LOOP}", names["bert"](), "--full", launch_external_process=True)
    wanted = run_script(PLAIN, names["bert"](), "--restore 1")
    for key, value in wanted.load_model().items():
        torch.testing.assert_close(run.load_model()[key], value, rtol=1e-4, atol=1e-6)
