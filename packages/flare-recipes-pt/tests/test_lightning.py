"""A patched Lightning trainer in a run: the same numbers as a plain loop, the right metrics, and what is refused."""

from __future__ import annotations

import json
import textwrap

import pytest
import torch
from torch import nn

from flare_core import JobFailed
from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.filterwarnings("default"),  # Lightning uses what torch has deprecated, and warns of small data
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
    flare.patch(trainer)  # the second changes nothing
    data = data_of(flare.get_site_name())
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    everything = torch.utils.data.DataLoader(data, batch_size=24)
"""

LOOP = """
    while flare.is_running():
        trainer.validate(net, everything, verbose=False)
        trainer.fit(net, loader, everything)
        trainer.validate(net, everything, verbose=False)  # the trained model: its metrics are not sent
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
def played(tmp_path):
    """Run a script at two sites, and return the run."""

    def play(script: str, arguments: str = "", *, rounds: int = 3, prefix: str = "inner.", sites: int = 2, **more):
        folder = tmp_path / f"project-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "data.py").write_text(textwrap.dedent(DATA))
        path = folder / "client.py"
        path.write_text("".join(textwrap.dedent(part) for part in script.split("###")))
        torch.manual_seed(0)
        state = {f"{prefix}{key}": value for key, value in nn.Linear(3, 1).state_dict().items()}
        recipe = FedAvgRecipe(
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

    return play


def metrics_of(run) -> list[tuple]:
    lines = (run.get_result() / "metrics.jsonl").read_text().splitlines()
    return [(row["round"], row["site"], row["key"], row["value"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("restore", [0, 1])
def test_three_rounds_are_those_of_a_plain_loop(played, restore):
    found = played(f"{LIGHTNING}###{LOOP}", f"--restore {restore}")
    wanted = played(PLAIN, f"--restore {restore}")
    for key, value in wanted.load_model().items():
        assert torch.equal(found.load_model()[key], value)
    assert len(metrics_of(wanted)) == 3 * 3
    assert [row[:3] for row in metrics_of(found)] == [row[:3] for row in metrics_of(wanted)]
    for ours, plain in zip(metrics_of(found), metrics_of(wanted), strict=True):
        assert ours[3] == pytest.approx(plain[3], rel=1e-6)  # of the received model, not the trained one


def test_a_round_is_so_many_steps_where_the_trainer_counts_steps(played):
    script = f"{LIGHTNING}###{LOOP}".replace("# the trained", "; print('steps', trainer.global_step)  # the trained")
    run = played(script, "--epochs 0 --steps 4")
    assert "steps 4\nsteps 8\nsteps 12\n" in (run.get_result() / "sites" / "site-1" / "log.txt").read_text()


def test_a_module_says_what_its_model_weighs(played):
    one = "net.__fl_meta__ = {'NUM_STEPS_CURRENT_ROUND': 0 if flare.get_site_name() == 'site-1' else 5}\n"
    weighted = played(f"{LIGHTNING}###{one}###{LOOP}", rounds=1)
    alone = "while flare.is_running():\n    trainer.fit(net, loader)\n"
    second = "data = data_of('site-2')\nloader = torch.utils.data.DataLoader(data, batch_size=8)\n"
    wanted = played(f"{LIGHTNING}###{second}###{alone}", rounds=1, sites=1)
    for key, value in wanted.load_model().items():
        torch.testing.assert_close(weighted.load_model()[key], value)
    with pytest.raises(JobFailed, match=r"__fl_meta__ of Net is \[1\]; give a dict"):
        played(f"{LIGHTNING}###net.__fl_meta__ = [1]\n###{LOOP}", rounds=1)


@pytest.mark.parametrize(("prefix", "shown"), [("", "inner."), ("model.inner.", "model.")])
def test_keys_that_differ_are_shown_with_the_prefix_that_is_the_difference(played, prefix, shown):
    with pytest.raises(JobFailed) as caught:
        played(f"{LIGHTNING}###{LOOP}", prefix=prefix, rounds=1)
    for part in (f"differ by the prefix '{shown}'", f"'{prefix}weight'", "'inner.weight'", "initial_model=Net(...)"):
        assert part in str(caught.value)


def test_keys_in_common_travel_where_that_is_allowed(played):
    more = "net.head = nn.Linear(1, 1)\n"
    with pytest.raises(JobFailed, match=r"At the site alone, 2 of 4: 'head\.weight', 'head\.bias'"):
        played(f"{LIGHTNING}###{more}###{LOOP}", rounds=1)
    run = played(f"{LIGHTNING}###{more}###{LOOP}", "--strict 0", rounds=1)
    assert run.load_model().keys() == {"inner.weight", "inner.bias"}
    with pytest.raises(JobFailed, match="Received alone, 2 of 2"):
        played(f"{LIGHTNING}###{more}###{LOOP}", "--strict 0", rounds=1, prefix="body.")


def test_another_shape_is_named(played):
    with pytest.raises(JobFailed, match=r"'inner\.weight' has shape \(1, 3\) in the model received, and \(1, 4\)"):
        played(f"{LIGHTNING}###net.inner = nn.Linear(4, 1)\n###{LOOP}", rounds=1)


def test_a_fit_that_trains_nothing_is_no_answer(played):
    with pytest.raises(JobFailed, match=r"in round 1 .*trained nothing: it stops at max_epochs=2"):
        played(f"{LIGHTNING}###{LOOP}", "--extend 0")


def test_what_is_fitted_twice_in_a_round_is_sent_once_and_after_the_run_trains_as_usual(played):
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
    twice = played(f"{LIGHTNING}###{script}", rounds=2)
    once = played(f"{LIGHTNING}###while flare.is_running():\n    trainer.fit(net, loader)\n", rounds=2)
    for key, value in once.load_model().items():
        assert torch.equal(twice.load_model()[key], value)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", ["python3 -u", "torchrun --standalone --nproc_per_node 2"])
def test_two_ranks_train_one_model_and_the_first_talks(played, command):
    script = LIGHTNING.replace('"cpu",', '"cpu", devices=2, strategy="ddp",')
    assert script != LIGHTNING
    log = """
        with open(f"rank-{trainer.global_rank}.txt", "w") as file:
            file.write(str(net.inner.weight.tolist()))
        torch.distributed.destroy_process_group()
    """
    run = played(f"{script}###{LOOP}###{log}", rounds=2, sites=1, launch_external_process=True, command=command)
    folder = run.get_result() / "sites" / "site-1"
    first, second = ((folder / f"rank-{rank}.txt").read_text() for rank in (0, 1))
    assert first == second == str(run.load_model()["inner.weight"].tolist())
    assert len(metrics_of(run)) == 2 * 2


def log_of(run) -> str:
    return (run.get_result() / "sites" / "site-1" / "log.txt").read_text()


def with_callback(callback: str, *, epochs: int = 2) -> str:
    """The script with a callback, as in Trainer(callbacks=[...])."""
    script = LIGHTNING.replace("max_epochs=epochs,", f"max_epochs={epochs}, callbacks=[{callback}],")
    assert script != LIGHTNING
    return script.replace("from torch import nn", "from lightning.pytorch.callbacks import *\n    from torch import nn")


COUNT = "while flare.is_running():\n    trainer.fit(net, loader, everything)\n    print('steps', trainer.global_step)\n"


def test_early_stopping_judges_each_round_by_itself(played):
    script = with_callback("EarlyStopping('loss', patience=1, min_delta=100.0)", epochs=9)
    assert "steps 6\nsteps 12\nsteps 18\n" in log_of(played(f"{script}###{COUNT}"))


def test_a_limit_of_time_is_that_of_each_round(played):
    script = with_callback("Timer('00:00:00:01')", epochs=10**6)
    assert log_of(played(f"{script}###{COUNT}", rounds=2)).count("steps") == 2


def test_a_schedule_over_all_steps_is_planned_for_one_round(played):
    planned = "optimizer, scheduler = optimizers(self.inner)"
    script = LIGHTNING.replace(planned, f"{planned}; print('planned', self.trainer.estimated_stepping_batches)")
    run = played(f"{script}###{COUNT}", "--restore 0", rounds=4)
    assert log_of(run).count("planned 6\n") == 4
    assert log_of(run).count("planned") == 4


def test_a_schedule_that_has_ended_is_told_and_not_a_round_of_nothing(played):
    script = LIGHTNING.replace(
        "return [optimizer], [scheduler]",
        "return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: max(0.0, 1 - epoch / 2))]",
    )
    assert script != LIGHTNING
    with pytest.raises(JobFailed, match=r"in round 1 .*learning rate was 0 in all 6 steps.*restore_state=False"):
        played(f"{script}###{LOOP}")
    played(f"{script}###{LOOP}", "--restore 0")


def test_a_schedule_that_warms_up_over_rounds_may_begin_at_nothing(played):
    script = LIGHTNING.replace(
        "return [optimizer], [scheduler]",
        "return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, (epoch // 2) / 2))]",
    )
    played(f"{script}###{LOOP}")
    with pytest.raises(JobFailed, match=r"in round 0 .*learning rate was 0 in all 6 steps"):
        played(f"{script}###{LOOP}", "--restore 0")  # each round begins it anew


def test_callbacks_see_the_received_model_when_training_starts_and_may_change_the_trained_to_the_last(played):
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
    run = played(f"{LIGHTNING}###{own}###{LOOP}", rounds=2)
    assert run.load_model()["inner.weight"].tolist() == [[9.0] * 3]


def test_an_average_is_that_of_a_round_and_no_part_of_the_evaluation_of_the_received_model(played):
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this version of Lightning has none")
    loop = """
        x, y = data.tensors
        while flare.is_running():
            received = flare.receive().params
            loss = nn.functional.mse_loss(x @ received["inner.weight"].T + received["inner.bias"], y)
            trainer.validate(net, everything, verbose=False)
            torch.testing.assert_close(trainer.callback_metrics["loss"], loss)
            trainer.fit(net, loader, everything)
    """
    played(f"{with_callback('EMAWeightAveraging(decay=0.5)')}###{loop}")
    late = with_callback("EMAWeightAveraging(update_starting_at_step=1000)")  # so it ends where it began
    found = played(f"{late}###{loop}").load_model()["inner.weight"]
    torch.manual_seed(0)
    torch.testing.assert_close(found, nn.Linear(3, 1).weight.detach())


@pytest.mark.parametrize(
    ("script", "loop", "message"),
    [
        (with_callback("StochasticWeightAveraging(0.05)"), LOOP, "StochasticWeightAveraging counts epochs"),
        (LIGHTNING, LOOP.replace("loader, everything)", "loader, ckpt_path='some.ckpt')"), "begins with the model rec"),
    ],
)
def test_what_would_train_another_model_is_refused(played, script, loop, message):
    save = "trainer.strategy.connect(net)\ntrainer.save_checkpoint('some.ckpt')\n"
    with pytest.raises(JobFailed, match=message):
        played(f"{script}###{save}###{loop}", rounds=1)


def test_steps_that_the_trainer_does_not_see_do_not_make_a_model_that_weighs_nothing(played):
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
        played(f"{LIGHTNING}###{raw}###{LOOP}", rounds=1)
    weighed = "net.__fl_meta__ = {'NUM_STEPS_CURRENT_ROUND': 6}\n"
    found = played(f"{LIGHTNING}###{raw}###{weighed}###{LOOP}", rounds=1).load_model()
    for key, value in played(PLAIN, "--restore 1", rounds=1).load_model().items():
        torch.testing.assert_close(found[key], value)


def test_a_module_in_half_precision_does_not_round_the_mean(played):
    script = LIGHTNING.replace('accelerator="cpu",', 'accelerator="cpu", precision="bf16-true",')
    assert script != LIGHTNING
    model = played(f"{script}###{LOOP}", rounds=1).load_model()
    assert {value.dtype for value in model.values()} == {torch.float32}
    assert any(not torch.equal(value, value.bfloat16().float()) for value in model.values())


def test_predictions_are_the_received_models(played):
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
    played(f"{LIGHTNING}###{loop}", rounds=2)


def test_trainers_that_are_made_in_each_round_are_one_site(played):
    loop = """
        while flare.is_running():
            first, second = (Trainer(accelerator="cpu", max_epochs=2, **quiet) for _ in range(2))
            flare.patch(first)
            flare.patch(second)
            first.validate(net, everything, verbose=False)
            second.fit(net, loader)
            first.fit(net, loader)  # it is answered
    """
    found, wanted = played(f"{LIGHTNING}###{loop}"), played(PLAIN, "--restore 0")
    for key, value in wanted.load_model().items():
        assert torch.equal(found.load_model()[key], value)
    assert [row[:3] for row in metrics_of(found)] == [row[:3] for row in metrics_of(wanted)]
