"""Simulated devices whose updates are known numbers."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from flare_edge import SumFilter, TaskProcessor
from flare_edge.device.work import Answer


class Counted(TaskProcessor):
    """Devices that add a number to each value, which depends on the device and the version."""

    def work(self, number: int) -> CountedWork:
        return CountedWork(number)


class CountedWork:
    def __init__(self, number: int) -> None:
        self.number = number

    def train(self, params, task) -> Answer:
        value = self.value(self.number, task.version)
        update = {name: np.full_like(each, value) for name, each in params.items()}
        return Answer(self.number % 3 + 1, {"accuracy": float(params["w"][0])}, update)

    def evaluate(self, params, task) -> Answer:
        return Answer(1, {"accuracy": float(params["w"][0])})

    @staticmethod
    def value(number: int, version: int) -> float:
        return (number % 61 + 1) / 64 + version / 8


class Prepared(Counted):
    """Devices that write down when their run starts and ends."""

    def __init__(self, file: str) -> None:
        self.file = file

    def start(self, job) -> None:
        self._note(f"start {job['name']} {job['config']}")

    def stop(self) -> None:
        self._note("stop")

    def work(self, number: int) -> CountedWork:
        self._note(f"work {number}")
        return super().work(number)

    def _note(self, text: str) -> None:
        with open(self.file, "a") as file:
            file.write(text + "\n")


class Pretending(TaskProcessor):
    """Devices that give their metrics the names of the server's own."""

    def work(self, number: int) -> Pretending:
        return self

    def train(self, params, task) -> Answer:
        names = ("updates", "staleness", "updates_dropped", "version", "round")
        return Answer(1, dict.fromkeys(names, 900.0), {name: np.zeros_like(each) for name, each in params.items()})

    def evaluate(self, params, task) -> Answer:
        return Answer(1, {})


class Marked(TaskProcessor):
    """Devices whose updates are 1 in one place, another one for each ticket, and 0 elsewhere."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.places: dict[int, int] = {}  # by ticket
        self._lock = threading.Lock()

    def work(self, number: int) -> Marked:
        return self

    def train(self, params, task) -> Answer:
        with self._lock:
            place = self.places.setdefault(task.ticket, len(self.places))
        update = np.zeros(self.size, np.float32)
        update[place] = 1.0
        return Answer(1, {}, {"w": update})

    def evaluate(self, params, task) -> Answer:
        return Answer(1, {})


def rounds(initial: dict[str, np.ndarray], devices: range, versions: int, lr: float = 1.0) -> dict[str, np.ndarray]:
    """Return the model after synchronous rounds with all of the devices, by the formula."""
    params = {name: value.copy() for name, value in initial.items()}
    for version in range(versions):
        weight = sum(number % 3 + 1 for number in devices)
        total = sum((number % 3 + 1) * CountedWork.value(number, version) for number in devices)
        params = {
            name: (value.astype(np.float64) + lr * (total / weight)).astype(value.dtype)
            for name, value in params.items()
        }
    return params


def first_value(params) -> dict[str, float]:
    """Return a metric of a model, at the server: the farther from 1, the worse."""
    return {"accuracy": -abs(float(params["w"][0]) - 1.0)}


class Broken(TaskProcessor):
    """Devices whose training fails."""

    def work(self, number: int) -> Broken:
        return self

    def train(self, params, task) -> Answer:
        raise ArithmeticError("no such data")

    def evaluate(self, params, task) -> Answer:
        raise ArithmeticError("no such data")


class PairMask(SumFilter):
    """Adds random numbers at one gateway, and takes them away at the other."""

    def process(self, version, each, gateway, number):
        draw = np.random.default_rng(version)
        sign = 1 if gateway == "site-1" else -1
        total = {
            name: value + sign * draw.integers(-(1 << 62), 1 << 62, value.shape) for name, value in each.total.items()
        }
        return replace(each, total=total)
