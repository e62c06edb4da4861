"""Workflows and executors that exchange data other than models, for test_conversations.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_core import Executor, Filter, FLModel, TrainingFederation, Workflow
from flare_fobs import register_dataclass


@register_dataclass(name="tests.Part")
@dataclass
class Part:
    """A registered type that contains an array."""

    values: np.ndarray
    note: str


class Half(Executor):
    """Returns half of its data, whatever its type."""

    def execute(self, task, context):
        return halved(task.data)


def halved(data: Any) -> Any:
    match data:
        case np.ndarray():
            return data / 2
        case Part():
            return Part(data.values / 2, data.note)
        case dict():
            return {key: halved(value) for key, value in data.items()}
        case list() | tuple():
            return type(data)(halved(value) for value in data)
        case FLModel():
            return FLModel(params=halved(dict(data.params)))
    return data


class Halves(Workflow):
    """Sends one payload to all sites, and expects half of it back."""

    def __init__(self, kind, size):
        self.kind = kind
        self.size = size

    def payload(self):
        array = np.arange(float(self.size))
        return {
            "array": array,
            "nested": {"a": [array, (array[:5], "text")], "b": {"deep": array}},
            "dataclass": [Part(array, "kept"), Part(array[:0], "")],
            "model": FLModel(params={"w": array, "inner": {"b": array[:3]}}),
            "bytes": {"raw": bytes(self.size * 8), "number": 2**80},
            "many": [np.full(4000, float(number)) for number in range(self.size // 1000 + 1)],
        }[self.kind]

    def run(self, fed: TrainingFederation) -> None:
        data = self.payload()
        for _ in fed.rounds(2):
            replies = list(fed.broadcast("half", data))
            assert [reply.site for reply in replies] == list(fed.sites)
            for reply in replies:
                np.testing.assert_equal(plain(reply.data), plain(halved(data)))
            fed.record({"done": 1.0})


def plain(data: Any) -> Any:
    match data:
        case FLModel():
            return {key: plain(value) for key, value in data.params.items()}
        case Part():
            return [data.values, data.note]
        case dict():
            return {key: plain(value) for key, value in data.items()}
        case list() | tuple():
            return [plain(value) for value in data]
    return data if not hasattr(data, "items") else {key: plain(value) for key, value in data.items()}


class TwoAtOnce(Workflow):
    """Holds two conversations at the same time, and reads their replies alternately."""

    def __init__(self, size):
        self.size = size

    def run(self, fed: TrainingFederation) -> None:
        for round_ in fed.rounds(2):
            parts = {site: np.full(self.size, float(index + round_)) for index, site in enumerate(fed.sites)}
            with fed.scatter("half", parts) as halves, fed.ask("again", {"round": round_}) as again:
                named = {reply.site: reply.data for reply in again.as_completed()}
                assert named == {site: {"round": round_} for site in fed.sites}
                for index, reply in enumerate(halves):
                    assert reply.data.tolist() == [(index + round_) / 2] * self.size
                    assert reply.round == round_
            fed.record({"done": 1.0})


class Kept(Workflow):
    """Keeps replies, and reads them after the conversation."""

    def __init__(self, size):
        self.size = size

    def run(self, fed: TrainingFederation) -> None:
        for _ in fed.rounds(1):
            replies = list(fed.broadcast("train", FLModel(params={"w": np.ones(self.size)})))
            assert all(reply.model.params["w"][0] == 2 for reply in replies)
            for _ in fed.broadcast("train", FLModel(params={"w": np.ones(self.size)})):
                pass
            replies[1].model.params["w"]


class Interleaved(Workflow):
    """Reads the replies to a task only after those to a later one."""

    def __init__(self, size):
        self.size = size

    def run(self, fed: TrainingFederation) -> None:
        for _ in fed.rounds(1):
            first = fed.ask("train", FLModel(params={"w": np.zeros(self.size)}))
            second = fed.ask("train", FLModel(params={"w": np.full(self.size, 5.0)}))
            with first, second:
                assert [float(reply.model.params["w"][-1]) for reply in second] == [6.0, 6.0]
                assert [float(reply.model.params["w"][-1]) for reply in first] == [1.0, 1.0]
            fed.record({"done": 1.0})


class Ones(Workflow):
    """Asks each site for ones, which filters may change."""

    def run(self, fed: TrainingFederation) -> None:
        for _ in fed.rounds(1):
            for reply in fed.broadcast("again", {"ones": np.ones(100_000)}):
                fed.record({"sum": float(reply.data["ones"].sum())}, site=reply.site)
            for reply in fed.broadcast("again", FLModel(params={"ones": np.ones(3)})):
                fed.record({"model": float(reply.model.params["ones"].sum())}, site=reply.site)


class Doubled(Filter):
    """Doubles the arrays in dicts, and does not change models."""

    data_type = dict

    def process(self, data, context):
        return {key: value * 2 for key, value in data.items()}


class Again(Executor):
    """Returns its data unchanged."""

    def execute(self, task, context):
        return task.data


class Fails(Executor):
    """Raises an error at one site."""

    def execute(self, task, context):
        if context.party == "site-2":
            raise ValueError("nothing to halve here")
        return task.data


class Unserializable(Executor):
    """Returns an object that cannot be serialized."""

    def execute(self, task, context):
        return {"thread": context}


class Drift(Executor):
    """Moves a model by what the site and the round make of it."""

    def execute(self, task, context):
        start = task.model.params["w"] if task.model.params else np.zeros(5)
        number, round_ = int(context.party[-1]), task.round
        context.log("drift", float(number + round_))
        moved = start + np.random.default_rng([number, round_]).normal(size=5)
        metrics = {"accuracy": round_ + float(np.tanh(start.mean()))}
        return FLModel(params={"w": moved}, metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": number})
