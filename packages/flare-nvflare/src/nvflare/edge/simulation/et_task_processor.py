"""ETTaskProcessor: simulated devices that train with ExecuTorch, on data sets of PyTorch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from flare_edge import EdgeError
from flare_edge.executorch import LoadedProgram, params_of
from nvflare.apis.dxo import DXO, DataKind, from_dict
from nvflare.edge.simulation.device_task_processor import DeviceTaskProcessor
from nvflare.edge.web.models.job_response import JobResponse
from nvflare.edge.web.models.task_response import TaskResponse

_DEFAULTS = {
    "batch_size": 32,
    "shuffle": True,
    "num_workers": 0,
    "learning_rate": 0.1,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "dampening": 0.0,
    "nesterov": False,
    "epoch": 1,
}


class ETTaskProcessor(DeviceTaskProcessor):
    """Trains the program of the recipe with stochastic gradient descent.

    Args:
        data_path: where the data are; given to :meth:`create_dataset`.
        training_config: ``batch_size``, ``shuffle``, ``num_workers``, ``learning_rate``, ``momentum``,
            ``weight_decay``, ``dampening``, ``nesterov`` and ``epoch``, the number of passes over the data.

    Raises:
        EdgeError: a setting is unknown, or ``epoch`` is no positive number.
    """

    def __init__(self, data_path: str, training_config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.data_path = data_path
        self.training_config = {**_DEFAULTS, **(training_config or {})}
        if unknown := sorted(self.training_config.keys() - _DEFAULTS.keys()):
            raise EdgeError(f"training_config has {unknown[0]!r}; known are {', '.join(_DEFAULTS)}")
        _check_epochs(self.training_config["epoch"])
        self._dataset: Dataset[Any] | None = None
        self._program: LoadedProgram | None = None

    @abstractmethod
    def create_dataset(self, data_path: str) -> Dataset[Any]:
        """Return a device's data: inputs and labels."""

    def get_dataset(self) -> Dataset[Any]:
        """Return the device's data, which are made once."""
        if self._dataset is None:
            self._dataset = self.create_dataset(self.data_path)
        return self._dataset

    def setup(self, job: JobResponse) -> None:
        """Load the program of a job.

        Raises:
            EdgeError: there is none.
        """
        program = (job.job_data or {}).get("program")
        if program is None:
            raise EdgeError(f"{job.job_name} has no program for ExecuTorch; make it with ETFedBuffRecipe")
        self._program = LoadedProgram(program)

    def shutdown(self) -> None:
        """Forget the program."""
        self._program = None

    def run_training(self, et_model: Any, total_epochs: int = 1) -> dict[str, Any]:
        """Train a loaded program, and return what has changed by name.

        Args:
            et_model: the program, with the parameters to begin with.
            total_epochs: the number of passes over the data.
        Raises:
            EdgeError: the data are fewer than a batch, or the number is not positive.
        """
        from executorch.extension.training import get_sgd_optimizer

        _check_epochs(total_epochs)
        how = self.training_config
        loader = DataLoader(
            self.get_dataset(),
            batch_size=how["batch_size"],
            shuffle=how["shuffle"],
            num_workers=how["num_workers"],
            drop_last=True,
        )
        if not len(loader):
            raise EdgeError(f"the data of {self.data_path!r} are fewer than a batch of {how['batch_size']}")
        before = params_of(et_model)
        names = ("learning_rate", "momentum", "weight_decay", "dampening", "nesterov")
        optimizer = get_sgd_optimizer(et_model.named_parameters(), *(how[name] for name in names))
        for _ in range(total_epochs):
            for inputs, labels in loader:
                et_model.forward_backward("forward", (inputs, labels))
                optimizer.step(et_model.named_gradients())
        return {name: value - before[name] for name, value in params_of(et_model).items()}

    def process_task(self, task: TaskResponse) -> dict[str, Any]:
        """Train, and return the differences as a DXO.

        Raises:
            EdgeError: the task is another, or the model does not fit the program.
        """
        if task.task_name != "train" or self._program is None:
            raise EdgeError(f"{type(self).__name__} cannot do the task {task.task_name!r}; it trains, after setup")
        params = {name: np.asarray(value) for name, value in from_dict(task.task_data).data.items()}
        self._program.set_params(params)
        changes = self.run_training(self._program.module, self.training_config["epoch"])
        return DXO(DataKind.WEIGHT_DIFF, {"dict": changes}).to_dict()


def _check_epochs(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise EdgeError(f"the number of epochs is {value!r}; give an integer of at least 1")
