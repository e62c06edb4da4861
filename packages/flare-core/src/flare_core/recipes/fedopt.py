"""Framework-independent base of the FedOpt recipe."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flare_core.components import Component, import_class
from flare_core.compression.codecs import parse_codec
from flare_core.errors import JobError, RecipeError
from flare_core.model import ParamsType
from flare_core.optimizers import ServerOptimizer
from flare_core.recipes.fedavg import BaseFedAvgRecipe

logger = logging.getLogger(__name__)

COARSE = ("int8", "int4")
"""Codecs whose errors are as large as the changes of a round."""


@dataclass(kw_only=True, eq=False, repr=False)
class BaseFedOptRecipe(BaseFedAvgRecipe):
    """Federated averaging whose server applies the sites' mean change with an optimizer, such as SGD with momentum.

    The negative mean change of a round serves as the gradient, so the server can use momentum or adaptive learning
    rates. Running statistics, counters and frozen parameters become the sites' mean, as in federated averaging. Also
    takes the arguments of ``FedAvgRecipe``.

    Args:
        optimizer_args: the server's optimizer as ``{"class_path": ..., "args": {...}}``: one of
            :mod:`flare_core.optimizers` (SGD, Adam, Yogi, Adagrad) or of the framework, such as ``torch.optim.SGD``.
            SGD with a learning rate of 1 and a momentum of 0.6 by default.
        lr_scheduler_args: the schedule of its learning rate, in the same form: one of :mod:`flare_core.schedules`
            (Cosine, Step, Exponential). Constant by default.

    Example:
        recipe = FedOptRecipe(
            min_clients=2,
            num_rounds=5,
            initial_model=model,
            train_script="client.py",
            key_metric=None,
            optimizer_args={"class_path": "flare_core.optimizers.Adam", "args": {"lr": 0.5}},
        )
    """

    name: str = "fedopt"
    optimizer_args: Mapping[str, Any] | None = None
    lr_scheduler_args: Mapping[str, Any] | None = None

    def _check(self) -> None:
        super()._check()
        # Reject lossy compression of whole models if the optimizer turns small errors into long steps.
        optimizer: ServerOptimizer = self._workflows[0].build().optimizer
        lossy = [text for text in self._codecs.values() if not parse_codec(text).is_exact]
        sites = [self._defaults, *self._sites.values()]
        if not optimizer.is_adaptive or not lossy or all(each.transfer is ParamsType.DIFF for each in sites):
            return
        args = self.optimizer_args
        named = type(optimizer).__name__ if args is None else described(args, "optimizer_args").class_path
        text = (
            f"compression is {lossy[0]!r}, and sites send whole models: its errors are gradients to {named}, whose"
            " steps do not shrink with the gradients, so that even parameters that no site changed would move;"
            " give params_transfer_type='DIFF'"
        )
        if any(parse_codec(each).name in COARSE for each in lossy):
            raise RecipeError(text)
        logger.warning("%s", text)

    def _workflow(self) -> Component:
        args = self._workflow_args()
        args["optimizer"] = None if self.optimizer_args is None else self._optimizer(self.optimizer_args)
        args["trainable"] = self._trainable
        if self.lr_scheduler_args is not None:
            args["schedule"] = described(self.lr_scheduler_args, "lr_scheduler_args")
        return Component("flare_core.workflows.FedOpt", args)

    def _optimizer(self, description: Mapping[str, Any]) -> Component:
        component = described(description, "optimizer_args")
        try:
            cls = import_class(component.class_path)
        except JobError as error:
            raise RecipeError(f"optimizer_args: {error}") from error
        if isinstance(cls, type) and issubclass(cls, ServerOptimizer):
            return component
        if self.optimizers is not None and isinstance(cls, type) and issubclass(cls, self.optimizers[0]):
            return Component(self.optimizers[1], {"class_path": component.class_path, "args": component.args})
        raise RecipeError(
            f"optimizer_args names {component.class_path}, which {self.public_name()} cannot use; give an optimizer of"
            " flare_core.optimizers or of the recipe's framework"
        )


def described(value: Any, name: str) -> Component:
    """Return a component from ``{"class_path": ..., "args": {...}}``.

    Raises:
        RecipeError: the value has a different form.
    """
    if not isinstance(value, Mapping):
        raise RecipeError(f"{name} is {value!r}; write {{'class_path': 'package.module.Class', 'args': {{...}}}}")
    try:
        return Component.of(value, what=name)
    except JobError as error:
        raise RecipeError(str(error)) from error
