"""Simulated devices, which run the exported program with ExecuTorch's runtime, as a phone would."""

from data import load

from flare_edge import TaskProcessor
from flare_edge.device.work import Work
from flare_edge.executorch import ExecutorchWork


class Digits(TaskProcessor):
    def __init__(self):
        self.examples, _ = load()

    def work(self, number: int) -> Work:
        return ExecutorchWork(self.examples[number])
