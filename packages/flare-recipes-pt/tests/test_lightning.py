"""Runs of a patched Lightning trainer: results equal to a plain loop's, correct metrics, and refused settings."""

from __future__ import annotations

import json
import textwrap

import pytest
import torch
from torch import nn

from flare_core import JobFailed
from flare_recipes_pt import FedAvgRecipe, ScaffoldRecipe
from flare_runtime import SimEnv

pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.filterwarnings("default"),  # Lightning uses deprecated torch functions, and warns about small data
    pytest.mark.slow,
]

DATA = """
    import argparse

    import torch
    from torch import nn

    parser = argparse.ArgumentParser()
    for name in ("restore", "strict", "extend"):
        parser.add_argument(f"--{name}", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=-1)
    options = parser.parse_args()


    def data_of(site):
        generator = torch.Generator().manual_seed(int(site[-1]))
        x = torch.randn(24, 3, generator=generator)
        y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + int(site[-1])
        return torch.utils.data.TensorDataset(x, y)


    def optimizers(net):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)
"""

LIGHTNING = """
    import torch
    from data import data_of, optimizers, options
    from lightning.pytorch import LightningModule, Trainer
    from torch import nn

    import flare_recipes_pt.lightning as flare

    class Net(LightningModule):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 1)

        def training_step(self, batch, index):
            return nn.functional.mse_loss(self.inner(batch[0]), batch[1])

        def validation_step(self, batch, index):
            self.log("loss", nn.functional.mse_loss(self.inner(batch[0]), batch[1]))

        test_step = validation_step

        def configure_optimizers(self):
            optimizer, scheduler = optimizers(self.inner)
            return [optimizer], [scheduler]

    net = Net()
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    epochs = options.epochs if options.epochs > 0 else None
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, max_steps=options.steps, **quiet)
    flare.patch(trainer, bool(options.restore), bool(options.strict), bool(options.extend))
    flare.patch(trainer)  # a second call has no effect
    data = data_of(flare.get_site_name())
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    everything = torch.utils.data.DataLoader(data, batch_size=24)
"""

LOOP = """
    while flare.is_running():
        trainer.validate(net, everything, verbose=False)
        trainer.fit(net, loader, everything)
        trainer.validate(net, everything, verbose=False)  # metrics of the trained model are not sent
"""

PLAIN = """
    import torch
    from data import data_of, optimizers, options
    from torch import nn

    import flare_core.client as flare

    flare.init()
    net = nn.Linear(3, 1)
    optimizer, scheduler = optimizers(net)
    data = data_of(flare.get_site_name())
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    while flare.is_running():
        received = flare.receive()
        net.load_state_dict({key.removeprefix("inner."): value for key, value in received.params.items()})
        if not options.restore:
            optimizer, scheduler = optimizers(net)
        x, y = data.tensors
        loss = nn.functional.mse_loss(net(x), y).item()
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.mse_loss(net(x), y).backward()
                optimizer.step()
            scheduler.step()
        params = {f"inner.{key}": value for key, value in net.state_dict().items()}
        flare.send(flare.FLModel(params=params, metrics={"loss": loss}, meta={"NUM_STEPS_CURRENT_ROUND": 6}))
"""


@pytest.fixture
def run_script(tmp_path):
    """Run a script at two sites, and return the run."""

    def run(
        script: str, arguments: str = "", *, rounds: int = 3, prefix="inner.", sites: int = 2, kind=FedAvgRecipe, **more
    ):
        folder = tmp_path / f"project-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "data.py").write_text(textwrap.dedent(DATA))
        path = folder / "client.py"
        path.write_text("".join(textwrap.dedent(part) for part in script.split("###")))
        torch.manual_seed(0)
        state = {f"{prefix}{key}": value for key, value in nn.Linear(3, 1).state_dict().items()}
        recipe = kind(
            min_clients=sites,
            num_rounds=rounds,
            initial_model=state,
            train_script=path,
            train_args=arguments,
            key_metric="loss",
            key_metric_mode="min",
            **more,
        )
        return recipe.execute(SimEnv(num_clients=sites, workspace_root=folder / "runs"))

    return run


def metrics_of(run) -> list[tuple]:
    lines = (run.get_result() / "metrics.jsonl").read_text().splitlines()
    return [(row["round"], row["site"], row["key"], row["value"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("restore", [0, 1])
def test_three_rounds_equal_a_plain_loop(run_script, restore):
    found = run_script(f"{LIGHTNING}###{LOOP}", f"--restore {restore}")
    wanted = run_script(PLAIN, f"--restore {restore}")
    for key, value in wanted.load_model().items():
        assert torch.equal(found.load_model()[key], value)
    assert len(metrics_of(wanted)) == 3 * 3
    assert [row[:3] for row in metrics_of(found)] == [row[:3] for row in metrics_of(wanted)]
    for ours, plain in zip(metrics_of(found), metrics_of(wanted), strict=True):
        assert ours[3] == pytest.approx(plain[3], rel=1e-6)  # measured on the received model


CORRECTED = {
    "optimizer, scheduler = optimizers(net)\n    data =": (
        "optimizer, scheduler = optimizers(net)\n    scaffold = Scaffold(net)\n    data ="
    ),
    "        if not options.restore:": (
        "        inner = lambda values: {key.removeprefix('inner.'): value for key, value in values.items()}\n"
        "        received.params = inner(received.params)\n"
        "        received.optimizer_params = inner(received.optimizer_params)\n"
        "        scaffold.start(received)\n        rates = []\n        if not options.restore:"
    ),
    "                optimizer.step()": (
        "                scaffold.correct()\n                rates.append(scheduler.get_last_lr()[0])\n"
        "                optimizer.step()"
    ),
    "        params = {": (
        "        change = scaffold.finish(6, sum(rates) / 6)\n"
        "        change = {f'inner.{key}': value for key, value in change.items()}\n        params = {"
    ),
    "params=params, metrics": "params=params, optimizer_params=change, metrics",
    "import flare_core.client as flare": "import flare_core.client as flare\n    from flare_recipes_pt import Scaffold",
}


@pytest.mark.parametrize("restore", [0, 1])
def test_three_rounds_of_scaffold_equal_a_plain_loop(run_script, restore):
    plain = PLAIN
    for before, after in CORRECTED.items():
        assert plain.count(before) == 1, before
        plain = plain.replace(before, after)
    wanted = run_script(plain, f"--restore {restore}", kind=ScaffoldRecipe)
    found = run_script(f"{LIGHTNING}###{LOOP}", f"--restore {restore}", kind=ScaffoldRecipe)
    averaged = run_script(f"{LIGHTNING}###{LOOP}", f"--restore {restore}")
    for key, value in wanted.load_model().items():
        torch.testing.assert_close(found.load_model()[key], value, rtol=0, atol=1e-5)
        assert (averaged.load_model()[key] - value).abs().max() > 1e-3
    for ours, theirs in zip(metrics_of(found), metrics_of(wanted), strict=True):
        assert ours[3] == pytest.approx(theirs[3], rel=1e-5)


def test_scaffold_refuses_rates_that_differ(run_script):
    groups = "torch.optim.SGD([{'params': [net.inner.weight], 'lr': 0.1}, {'params': [net.inner.bias], 'lr': 0.2}])"
    own = f"net.configure_optimizers = lambda: {groups}\n"
    with pytest.raises(JobFailed, match=r"learning rates \[0\.1, 0\.2\], and SCAFFOLD needs one"):
        run_script(f"{LIGHTNING}###{own}###{LOOP}", kind=ScaffoldRecipe, rounds=1)


def test_each_round_trains_max_steps(run_script):
    script = f"{LIGHTNING}###{LOOP}".replace("# metrics", "; print('steps', trainer.global_step)  # metrics")
    run = run_script(script, "--epochs 0 --steps 4")
    assert "steps 4\nsteps 8\nsteps 12\n" in (run.get_result() / "sites" / "site-1" / "log.txt").read_text()


def test_fl_meta_sets_the_weight_of_a_model(run_script):
    one = "net.__fl_meta__ = {'NUM_STEPS_CURRENT_ROUND': 0 if flare.get_site_name() == 'site-1' else 5}\n"
    weighted = run_script(f"{LIGHTNING}###{one}###{LOOP}", rounds=1)
    alone = "while flare.is_running():\n    trainer.fit(net, loader)\n"
    second = "data = data_of('site-2')\nloader = torch.utils.data.DataLoader(data, batch_size=8)\n"
    wanted = run_script(f"{LIGHTNING}###{second}###{alone}", rounds=1, sites=1)
    for key, value in wanted.load_model().items():
        torch.testing.assert_close(weighted.load_model()[key], value)
    with pytest.raises(JobFailed, match=r"__fl_meta__ of Net is \[1\]; give a dict"):
        run_script(f"{LIGHTNING}###net.__fl_meta__ = [1]\n###{LOOP}", rounds=1)


@pytest.mark.parametrize(("prefix", "shown"), [("", "inner."), ("model.inner.", "model.")])
def test_the_error_for_different_keys_shows_their_common_prefix(run_script, prefix, shown):
    with pytest.raises(JobFailed) as caught:
        run_script(f"{LIGHTNING}###{LOOP}", prefix=prefix, rounds=1)
    for part in (f"differ by the prefix '{shown}'", f"'{prefix}weight'", "'inner.weight'", "initial_model=Net(...)"):
        assert part in str(caught.value)


def test_only_common_keys_are_exchanged_without_strict(run_script):
    more = "net.head = nn.Linear(1, 1)\n"
    with pytest.raises(JobFailed, match=r"Only at the site, 2 of 4: 'head\.weight', 'head\.bias'"):
        run_script(f"{LIGHTNING}###{more}###{LOOP}", rounds=1)
    run = run_script(f"{LIGHTNING}###{more}###{LOOP}", "--strict 0", rounds=1)
    assert run.load_model().keys() == {"inner.weight", "inner.bias"}
    with pytest.raises(JobFailed, match="Only received, 2 of 2"):
        run_script(f"{LIGHTNING}###{more}###{LOOP}", "--strict 0", rounds=1, prefix="body.")


def test_the_error_for_a_different_shape_names_the_key(run_script):
    with pytest.raises(JobFailed, match=r"'inner\.weight' has shape \(1, 3\) in the received model but \(1, 4\)"):
        run_script(f"{LIGHTNING}###net.inner = nn.Linear(4, 1)\n###{LOOP}", rounds=1)


def test_a_fit_that_trains_nothing_is_an_error(run_script):
    with pytest.raises(JobFailed, match=r"in round 1 .*trained nothing: it stops at max_epochs=2"):
        run_script(f"{LIGHTNING}###{LOOP}", "--extend 0")


def test_a_second_fit_in_a_round_does_nothing_and_after_the_run_fit_trains_as_usual(run_script):
    script = """
        while flare.is_running():
            trainer.fit(net, loader)
            before = net.inner.weight.clone()
            trainer.fit(net, loader)
            assert torch.equal(before, net.inner.weight)
        trainer.fit_loop.max_epochs += 1
        trainer.fit(net, loader)
        assert not torch.equal(before, net.inner.weight)
    """
    twice = run_script(f"{LIGHTNING}###{script}", rounds=2)
    once = run_script(f"{LIGHTNING}###while flare.is_running():\n    trainer.fit(net, loader)\n", rounds=2)
    for key, value in once.load_model().items():
        assert torch.equal(twice.load_model()[key], value)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", ["python3 -u", "torchrun --standalone --nproc_per_node 2"])
def test_two_ranks_train_one_model_and_only_the_first_communicates(run_script, command):
    script = LIGHTNING.replace('"cpu",', '"cpu", devices=2, strategy="ddp",')
    assert script != LIGHTNING
    log = """
        with open(f"rank-{trainer.global_rank}.txt", "w") as file:
            file.write(str(net.inner.weight.tolist()))
        torch.distributed.destroy_process_group()
    """
    run = run_script(f"{script}###{LOOP}###{log}", rounds=2, sites=1, launch_external_process=True, command=command)
    folder = run.get_result() / "sites" / "site-1"
    first, second = ((folder / f"rank-{rank}.txt").read_text() for rank in (0, 1))
    assert first == second == str(run.load_model()["inner.weight"].tolist())
    assert len(metrics_of(run)) == 2 * 2


def log_of(run) -> str:
    return (run.get_result() / "sites" / "site-1" / "log.txt").read_text()


def with_callback(callback: str, *, epochs: int = 2) -> str:
    """Return the script with a callback, as in Trainer(callbacks=[...])."""
    script = LIGHTNING.replace("max_epochs=epochs,", f"max_epochs={epochs}, callbacks=[{callback}],")
    assert script != LIGHTNING
    return script.replace("from torch import nn", "from lightning.pytorch.callbacks import *\n    from torch import nn")


COUNT = "while flare.is_running():\n    trainer.fit(net, loader, everything)\n    print('steps', trainer.global_step)\n"


def test_early_stopping_starts_over_in_each_round(run_script):
    script = with_callback("EarlyStopping('loss', patience=1, min_delta=100.0)", epochs=9)
    assert "steps 6\nsteps 12\nsteps 18\n" in log_of(run_script(f"{script}###{COUNT}"))


def test_a_time_limit_applies_to_each_round(run_script):
    script = with_callback("Timer('00:00:00:01')", epochs=10**6)
    assert log_of(run_script(f"{script}###{COUNT}", rounds=2)).count("steps") == 2


def test_a_schedule_over_all_steps_is_planned_for_one_round(run_script):
    planned = "optimizer, scheduler = optimizers(self.inner)"
    script = LIGHTNING.replace(planned, f"{planned}; print('planned', self.trainer.estimated_stepping_batches)")
    run = run_script(f"{script}###{COUNT}", "--restore 0", rounds=4)
    assert log_of(run).count("planned 6\n") == 4
    assert log_of(run).count("planned") == 4


def test_a_schedule_that_has_ended_is_an_error(run_script):
    script = LIGHTNING.replace(
        "return [optimizer], [scheduler]",
        "return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: max(0.0, 1 - epoch / 2))]",
    )
    assert script != LIGHTNING
    with pytest.raises(JobFailed, match=r"in round 1 .*learning rate was 0 in all 6 steps.*restore_state=False"):
        run_script(f"{script}###{LOOP}")
    run_script(f"{script}###{LOOP}", "--restore 0")


def test_a_warm_up_over_several_rounds_may_start_at_zero(run_script):
    script = LIGHTNING.replace(
        "return [optimizer], [scheduler]",
        "return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, (epoch // 2) / 2))]",
    )
    run_script(f"{script}###{LOOP}")
    with pytest.raises(JobFailed, match=r"in round 0 .*learning rate was 0 in all 6 steps"):
        run_script(f"{script}###{LOOP}", "--restore 0")  # each round starts the schedule over


def test_callbacks_see_the_received_model_and_may_change_the_trained_one(run_script):
    own = """
        from lightning.pytorch import Callback

        class Reference(Callback):
            def on_fit_start(self, trainer, module):
                assert torch.equal(module.inner.weight, flare.receive().params["inner.weight"])

        class Rounds(Callback):
            def on_fit_end(self, trainer, module):
                with torch.no_grad():
                    module.inner.weight.fill_(9.0)

        trainer.callbacks.insert(0, Reference())
        net.configure_callbacks = lambda: [Rounds()]
    """
    run = run_script(f"{LIGHTNING}###{own}###{LOOP}", rounds=2)
    assert run.load_model()["inner.weight"].tolist() == [[9.0] * 3]


def test_averaged_weights_start_over_in_each_round_and_do_not_affect_evaluation(run_script):
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this version of Lightning lacks EMAWeightAveraging")
    loop = """
        x, y = data.tensors
        while flare.is_running():
            received = flare.receive().params
            loss = nn.functional.mse_loss(x @ received["inner.weight"].T + received["inner.bias"], y)
            trainer.validate(net, everything, verbose=False)
            torch.testing.assert_close(trainer.callback_metrics["loss"], loss)
            trainer.fit(net, loader, everything)
    """
    run_script(f"{with_callback('EMAWeightAveraging(decay=0.5)')}###{loop}")
    late = with_callback("EMAWeightAveraging(update_starting_at_step=1000)")  # so the average never moves
    found = run_script(f"{late}###{loop}").load_model()["inner.weight"]
    torch.manual_seed(0)
    torch.testing.assert_close(found, nn.Linear(3, 1).weight.detach())


@pytest.mark.parametrize(
    ("script", "loop", "message"),
    [
        (with_callback("StochasticWeightAveraging(0.05)"), LOOP, "StochasticWeightAveraging counts epochs"),
        (LIGHTNING, LOOP.replace("loader, everything)", "loader, ckpt_path='some.ckpt')"), "starts from the received"),
    ],
)
def test_settings_that_would_train_another_model_are_refused(run_script, script, loop, message):
    save = "trainer.strategy.connect(net)\ntrainer.save_checkpoint('some.ckpt')\n"
    with pytest.raises(JobFailed, match=message):
        run_script(f"{script}###{save}###{loop}", rounds=1)


def test_a_model_whose_steps_the_trainer_cannot_count_needs_an_explicit_weight(run_script):
    raw = """
        def training_step(batch, batch_idx):
            optimizer = net.optimizers(use_pl_optimizer=False)
            optimizer.zero_grad()
            nn.functional.mse_loss(net.inner(batch[0]), batch[1]).backward()
            optimizer.step()
            if trainer.is_last_batch:
                net.lr_schedulers().step()

        net.automatic_optimization = False
        net.training_step = training_step
    """
    with pytest.raises(JobFailed, match=r"counted no step of an optimizer.*__fl_meta__"):
        run_script(f"{LIGHTNING}###{raw}###{LOOP}", rounds=1)
    weighed = "net.__fl_meta__ = {'NUM_STEPS_CURRENT_ROUND': 6}\n"
    found = run_script(f"{LIGHTNING}###{raw}###{weighed}###{LOOP}", rounds=1).load_model()
    for key, value in run_script(PLAIN, "--restore 1", rounds=1).load_model().items():
        torch.testing.assert_close(found[key], value)


def test_a_module_in_half_precision_does_not_round_the_mean(run_script):
    script = LIGHTNING.replace('accelerator="cpu",', 'accelerator="cpu", precision="bf16-true",')
    assert script != LIGHTNING
    model = run_script(f"{script}###{LOOP}", rounds=1).load_model()
    assert {value.dtype for value in model.values()} == {torch.float32}
    assert any(not torch.equal(value, value.bfloat16().float()) for value in model.values())


def test_predictions_use_the_received_model(run_script):
    loop = """
        net.forward = lambda batch: net.inner(batch[0])
        while flare.is_running():
            received = flare.receive().params
            with torch.no_grad():
                net.inner.weight.fill_(99.0)
            found = trainer.predict(net, everything)[0]
            torch.testing.assert_close(found, data.tensors[0] @ received["inner.weight"].T + received["inner.bias"])
            trainer.fit(net, loader)
    """
    run_script(f"{LIGHTNING}###{loop}", rounds=2)


def test_trainers_created_in_each_round_share_one_site(run_script):
    loop = """
        while flare.is_running():
            first, second = (Trainer(accelerator="cpu", max_epochs=2, **quiet) for _ in range(2))
            flare.patch(first)
            flare.patch(second)
            first.validate(net, everything, verbose=False)
            second.fit(net, loader)
            first.fit(net, loader)  # the task is already answered
    """
    found, wanted = run_script(f"{LIGHTNING}###{loop}"), run_script(PLAIN, "--restore 0")
    for key, value in wanted.load_model().items():
        assert torch.equal(found.load_model()[key], value)
    assert [row[:3] for row in metrics_of(found)] == [row[:3] for row in metrics_of(wanted)]
