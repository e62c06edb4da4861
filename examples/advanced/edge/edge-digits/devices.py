"""Simulated devices: they work in the processes of the gateways, but each with its own examples."""

from data import load

from flare_edge import TaskProcessor
from flare_edge.device.work import ProgramWork, Work


class Digits(TaskProcessor):
    def __init__(self):
        self.examples, _ = load()

    def work(self, number: int) -> Work:
        return ProgramWork(self.examples[number])
