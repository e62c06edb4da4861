"""PTScaffoldHelper, the site's part of SCAFFOLD; :class:`flare_recipes_pt.Scaffold` also survives restarts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from flare_core import ClientApiError

State = dict[str, Any]


def get_lr_values(optimizer: torch.optim.Optimizer) -> list[float]:
    """Return the learning rate of each group of parameters."""
    return [float(group["lr"]) for group in optimizer.param_groups]


class PTScaffoldHelper:
    """The control variates of a site and of the server, as models with the same parameters.

    Attributes:
        cnt: the number of steps in this round.
        c_global: the server's.
        c_local: the site's.
        c_delta_para: the change of the site's in this round, as arrays by name.

    Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II.
    """

    def __init__(self) -> None:
        self.cnt = 0
        self.c_global: torch.nn.Module | None = None
        self.c_local: torch.nn.Module | None = None
        self.c_delta_para: State | None = None

    def init(self, model: torch.nn.Module) -> None:
        """Begin with controls of zero for a model."""
        zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
        self.c_global, self.c_local = copy.deepcopy(model), copy.deepcopy(model)
        for controls in (self.c_global, self.c_local):
            controls.load_state_dict(zeros)

    def load_global_controls(self, weights: Mapping[str, Any]) -> None:
        """Take the server's controls, tensors or arrays, which a script finds in the meta of the received model."""
        self._of("global").load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})

    def get_params(self) -> tuple[State, State]:
        """Begin a round, and return the server's and the site's controls."""
        self.cnt = 0
        return self._of("global").state_dict(), self._of("local").state_dict()

    @torch.no_grad()
    def model_update(self, model: torch.nn.Module, curr_lr: float, c_global_para: State, c_local_para: State) -> None:
        """Correct the model after a step.

        Args:
            model: the model, changed in place.
            curr_lr: the learning rate of the step.
            c_global_para, c_local_para: what :meth:`get_params` returned.
        """
        state = model.state_dict()
        model.load_state_dict(
            {name: value - curr_lr * (c_global_para[name] - c_local_para[name]) for name, value in state.items()}
        )
        self.cnt += 1

    @torch.no_grad()
    def terms_update(
        self,
        model: torch.nn.Module,
        curr_lr: float,
        c_global_para: State,
        c_local_para: State,
        model_global: torch.nn.Module,
    ) -> None:
        """End a round: move the site's controls.

        Args:
            model: the trained model.
            curr_lr: the learning rate.
            c_global_para, c_local_para: what :meth:`get_params` returned.
            model_global: the model as it was received.
        """
        before, after = model_global.state_dict(), model.state_dict()
        old = {name: value.clone() for name, value in c_local_para.items()}
        new = {
            name: old[name] - c_global_para[name] + (before[name] - after[name]) / (self.cnt * curr_lr)
            for name in after
        }
        self.c_delta_para = {name: (new[name] - old[name]).cpu().numpy() for name in new}
        self._of("local").load_state_dict(new)

    def get_delta_controls(self) -> State:
        """Return the change of the site's controls, to send in the meta of the trained model.

        Raises:
            ClientApiError: the round has not ended.
        """
        if self.c_delta_para is None:
            raise ClientApiError("there is no change of the controls yet; call terms_update first")
        return self.c_delta_para

    def _of(self, whose: str) -> torch.nn.Module:
        found = self.c_global if whose == "global" else self.c_local
        if found is None:
            raise ClientApiError("there are no controls yet; call init(model) first")
        return found
