"""The part that the algorithms share that train a model with the gradients of batches."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch

from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_opt.p2p.executors.sync_executor import SyncAlgorithmExecutor
from nvflare.app_opt.p2p.utils.metrics import compute_loss_over_dataset
from nvflare.app_opt.p2p.utils.utils import get_device


class TrainingExecutor(SyncAlgorithmExecutor):
    """Trains a model together with the neighbours; a subclass says how.

    Args:
        model: the model.
        loss: its loss function.
        train_dataloader, test_dataloader, val_dataloader: the site's data.
    """

    def __init__(
        self,
        model: Any = None,
        loss: Any = None,
        train_dataloader: Any = None,
        test_dataloader: Any = None,
        val_dataloader: Any = None,
    ) -> None:
        super().__init__()
        self.device = get_device()
        self.model = model.to(self.device)
        self.loss = loss.to(self.device)
        self.train_dataloader = train_dataloader
        self.test_dataloader = test_dataloader
        self.val_dataloader = val_dataloader
        self.train_loss_sequence: list[tuple[float, float]] = []
        self.test_loss_sequence: list[tuple[float, float]] = []
        self._iterations, self._stepsize = 0, 0.0

    def run_algorithm(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Do the iterations, and measure the model after each pass through the data."""
        started = time.monotonic()
        batches = iter(self.train_dataloader)
        for iteration in range(self._iterations):
            if abort_signal.triggered:
                break
            batch = next(batches, None)
            if batch is None:
                self._measure(time.monotonic() - started)
                batches = iter(self.train_dataloader)
                batch = next(batches)
            data, label = (each.to(self.device) for each in batch)
            self._step(fl_ctx, iteration, data, label)
            self.neighbors_values.pop(iteration, None)

    @abstractmethod
    def _step(self, fl_ctx: FLContext, iteration: int, data: Any, label: Any) -> None:
        """Do one iteration with a batch."""

    def _pre_algorithm_run(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Read the settings, and measure the model."""
        data = from_shareable(shareable).data
        self._iterations, self._stepsize = int(data["iterations"]), float(data["stepsize"])
        self._measure(0.0)

    def _post_algorithm_run(self, *args: Any, **kwargs: Any) -> None:
        """Write what was measured into the working folder."""
        torch.save(torch.tensor(self.train_loss_sequence), "train_loss_sequence.pt")
        torch.save(torch.tensor(self.test_loss_sequence), "test_loss_sequence.pt")

    def _measure(self, seconds: float) -> None:
        for loader, sequence in (
            (self.train_dataloader, self.train_loss_sequence),
            (self.test_dataloader, self.test_loss_sequence),
        ):
            sequence.append((seconds, compute_loss_over_dataset(self.model, self.loss, loader, self.device)))

    def _gradient(self, data: Any, label: Any) -> list[Any]:
        """Return the gradient of the loss for a batch, by parameter."""
        self.model.zero_grad()
        self.loss(self.model(data), label).backward()
        return [parameter.grad.clone() for parameter in self.model.parameters()]

    def _mix(self, own: Iterator[Any], theirs: dict[str, list[Any]]) -> None:
        """Replace each of the site's tensors by the weighted mean of it and the neighbours'."""
        for index, tensor in enumerate(own):
            tensor.mul_(self._weight)
            for neighbor in self.neighbors:
                tensor.add_(theirs[str(neighbor.id)][index].to(self.device), alpha=neighbor.weight or 0.0)
