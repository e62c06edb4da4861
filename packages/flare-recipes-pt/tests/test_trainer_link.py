"""TrainerLink task by task, with a trainer that adds one."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import nn

import flare_core.client as flare
from flare_core import ClientApiError, FLModel, ShapeMismatchError, Task, UnknownKeyError
from flare_core.client.session import attach
from flare_recipes_pt.trainer_link import SharedModel, TrainerLink, Training, check_fit


class ListChannel:
    """A channel with prepared tasks; the only weight of a model is a number that identifies it."""

    site, job_id, config = "site-1", "job-1", {}

    def __init__(self, *tasks: tuple[str, float | None]) -> None:
        self.tasks = deque(
            Task(name, FLModel() if value is None else FLModel(params={"weight": torch.full((1, 1), value)}), number)
            for number, (name, value) in enumerate(tasks)
        )
        self.replies: list[tuple] = []

    def next_task(self, timeout_s=None):
        return self.tasks.popleft() if self.tasks else None

    @property
    def ended(self):
        return not self.tasks

    def reply(self, model):
        weight = None if model.params is None else model.params["weight"].item()
        self.replies.append((weight, model.metrics, model.meta.get("NUM_STEPS_CURRENT_ROUND")))


class AddingTrainer:
    def __init__(self) -> None:
        self.net = nn.Linear(1, 1, bias=False)
        self.model = SharedModel.of(self.net)
        self.link = TrainerLink(rank=0, strict=True)

    def evaluate(self) -> None:
        self.link.begin_evaluation(self.model)
        self.link.end_evaluation({"weight": self.net.weight.item()})

    def train(self) -> Training:
        training = self.link.begin_training(self.model)
        if training in (Training.FEDERATED, Training.ALONE):
            with torch.no_grad():
                self.net.weight += 1
        if training is Training.FEDERATED:
            self.link.end_training(self.model, steps=7, meta={})
        if training is Training.SUBMIT:
            self.link.submit(self.model)
        return training


@pytest.fixture
def trainer(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def make(*tasks) -> tuple[AddingTrainer, ListChannel]:
        channel = ListChannel(*tasks)
        attach(channel)
        return AddingTrainer(), channel

    yield make
    attach(None)


def test_one_loop_serves_every_kind_of_task(trainer):
    tasks = [("train", 1.0), ("train", 5.0), ("validate", 30.0), ("submit_model", None), ("validate", 40.0)]
    made, channel = trainer(*tasks, ("submit_model", None), ("train", 50.0))
    while flare.is_running():
        made.evaluate()
        made.train()
        made.evaluate()  # after the reply, so without effect
    assert channel.replies == [
        (2.0, {"weight": 1.0}, 7),
        (6.0, {"weight": 5.0}, 7),
        (None, {"weight": 30.0}, None),
        (6.0, None, None),
        (None, {"weight": 40.0}, None),
        (6.0, None, None),
        (51.0, {"weight": 50.0}, 7),
    ]


def test_training_without_a_task(trainer):
    made, _ = trainer(("train", 1.0), ("train", 2.0))
    assert made.train() is Training.ALONE  # before the first task
    assert flare.is_running()
    assert [made.train(), made.train()] == [Training.FEDERATED, Training.IDLE]
    assert flare.is_running()
    assert [made.train(), made.train()] == [Training.FEDERATED, Training.IDLE]  # the script does not know the end yet
    assert not flare.is_running()
    assert made.train() is Training.ALONE


def test_tasks_that_cannot_be_answered_are_errors(trainer):
    made, _ = trainer(("submit_model", None), ("validate", 1.0))
    assert flare.is_running()
    with pytest.raises(ClientApiError, match="has trained none"):
        made.train()
    attach(None)
    made, _ = trainer(("validate", 1.0))
    assert flare.is_running()
    with pytest.raises(ClientApiError, match="trains before it has evaluated"):
        made.train()


def test_a_session_opened_by_the_script_is_reused(trainer):
    channel = ListChannel(("train", 1.0))
    attach(channel)
    session = flare.init()
    AddingTrainer()
    assert attach(None) is session


STATE = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).state_dict()


@pytest.mark.parametrize("added_to", ["received", "site"])
def test_the_error_for_different_keys_shows_a_prefix(added_to):
    longer = {f"module.{key}": value for key, value in STATE.items()}
    received, site = (longer, STATE) if added_to == "received" else (STATE, longer)
    for strict in (True, False):
        with pytest.raises(UnknownKeyError) as caught:
            check_fit(received, site, strict=strict, remedy="do this")
        for part in ("prefix 'module.'", "'module.0.weight'", " '0.weight'", "4 of 4", "do this"):
            assert part in str(caught.value)


def test_missing_or_extra_keys_are_refused_only_if_strict():
    fewer = {key: value for key, value in STATE.items() if key.startswith("0.")}
    for received, site in ((fewer, STATE), (STATE, fewer)):
        with pytest.raises(UnknownKeyError, match=r"'1\.weight', '1\.bias'"):
            check_fit(received, site, strict=True, remedy="")
        check_fit(received, site, strict=False, remedy="")
    with pytest.raises(ShapeMismatchError, match=r"'0\.bias' has shape \(3,\) in the received model but \(4,\)"):
        check_fit(STATE, {**STATE, "0.bias": torch.zeros(4)}, strict=True, remedy="")
