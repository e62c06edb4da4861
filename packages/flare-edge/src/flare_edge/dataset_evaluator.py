"""The accuracy of a PyTorch classifier at the server, on a data set of torchvision or on given examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flare_core.components import Component
from flare_core.errors import JobError
from flare_core.evaluator import Evaluator
from flare_edge.errors import EdgeError

if TYPE_CHECKING:
    import torch

_BATCH = 256


class DatasetEvaluator(Evaluator):
    """Measures ``accuracy``, the share of examples whose class the model finds.

    Args:
        model: the module, whose parameters are those of each version.
        torchvision_dataset: ``{"name": "CIFAR10", "path": folder}``: the test part of one of torchvision's data sets,
            which is downloaded into the folder unless it is there.
        custom_dataset: ``{"data": inputs, "labels": classes}``, nested lists of numbers.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        torchvision_dataset: Mapping[str, str] | None = None,
        custom_dataset: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.torchvision_dataset = torchvision_dataset
        self.custom_dataset = custom_dataset
        self._examples: Any = None

    def evaluate(self, model: Mapping[str, Any]) -> dict[str, float]:
        """Return the accuracy of a version.

        Args:
            model: its arrays by name.
        Raises:
            EdgeError: torchvision is not installed, or has no such data set.
        """
        import numpy as np
        import torch
        from torch.utils.data import DataLoader

        if self._examples is None:
            self._examples = self._loaded()
        self.model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in model.items()})
        self.model.eval()
        right = count = 0
        with torch.no_grad():
            for inputs, labels in DataLoader(self._examples, batch_size=_BATCH):
                right += int((self.model(inputs).argmax(dim=1) == labels).sum())
                count += len(labels)
        return {"accuracy": right / count}

    def _loaded(self) -> Any:
        if self.custom_dataset is not None:
            import torch

            inputs = torch.tensor(self.custom_dataset["data"], dtype=torch.float32)
            return torch.utils.data.TensorDataset(inputs, torch.tensor(self.custom_dataset["labels"]))
        given = self.torchvision_dataset or {}
        name = given["name"]
        try:
            from torchvision import datasets, transforms
        except ImportError as error:
            raise EdgeError(
                f"torchvision_dataset is {name!r}, but the server has no torchvision ({error}); pip install"
                " 'flare-edge[datasets]'"
            ) from error
        kind = getattr(datasets, name, None)
        if kind is None:
            raise EdgeError(f"torchvision_dataset is {name!r}, which torchvision.datasets does not have")
        return kind(root=given["path"], train=False, download=True, transform=transforms.ToTensor())


def described_module(model: Any) -> Component:
    """Return a module as a component, without its parameters if its class and arguments describe it.

    Args:
        model: a ``torch.nn.Module``, or ``{"class_path", "args"}``.
    Raises:
        EdgeError: it is neither.
    """
    if isinstance(model, Mapping) and ("class_path" in model or "path" in model):
        return Component.of(model, what="model")
    if not hasattr(model, "state_dict"):
        raise EdgeError(
            f"model is a {type(model).__name__}, but an evaluation on a data set needs a torch.nn.Module; give one as"
            ' model, or a function of the params as EvaluatorConfig(function="module.function")'
        )
    whole = Component.of(model, what="model")
    try:
        described = Component.of(whole.description(), what="model")
        is_same = _shapes(described.build()) == _shapes(model)
    except JobError:
        return whole
    return described if is_same else whole


def _shapes(model: Any) -> dict[str, Any]:
    return {name: value.shape for name, value in model.state_dict().items()}
