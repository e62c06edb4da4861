"""Simulated devices that run ExecuTorch."""

from flare_edge import TaskProcessor
from flare_edge.device.data import clusters
from flare_edge.device.work import Work
from flare_edge.executorch import ExecutorchWork


class Clusters(TaskProcessor):
    def work(self, number: int) -> Work:
        return ExecutorchWork(clusters(48, inputs=4, classes=3, seed=number))
