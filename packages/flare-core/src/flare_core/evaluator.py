"""Evaluators, which measure the global model on the server's own data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from flare_core.errors import ModelError
from flare_core.selection import as_number


class Evaluator(ABC):
    """An evaluation of each new global model at the server."""

    @abstractmethod
    def evaluate(self, model: Mapping[str, Any]) -> Mapping[str, float]:
        """Return metrics by name.

        Args:
            model: the params in the form of the recipe's framework, as ``run.load_model()`` returns them: numpy arrays
                by name, a state dict of torch tensors, or Keras weights by name.
        """


def measured(evaluator: Any, *arguments: Any) -> dict[str, float]:
    """Return the metrics from ``evaluator.evaluate(*arguments)``, checked.

    Raises:
        ModelError: they are not a mapping of names to numbers.
    """
    found = evaluator.evaluate(*arguments)
    numbers = {key: as_number(value) for key, value in found.items()} if isinstance(found, Mapping) else {"": None}
    if any(not isinstance(key, str) or value is None for key, value in numbers.items()):
        raise ModelError(f"{type(evaluator).__name__}.evaluate() returned {found!r}; return a dict of names to numbers")
    return {key: value for key, value in numbers.items() if value is not None}
