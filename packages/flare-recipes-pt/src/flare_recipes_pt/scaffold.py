"""SCAFFOLD at a site: gradients that are corrected for the drift of sites with different data."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

from flare_core import ClientApiError, FLModel, RecipeError
from flare_core.model import MetaKey
from flare_fobs.tensors import to_numpy
from flare_recipes_pt.trainable import like, received_values, trainable
from flare_tensor_downloader import read_file, write_file

__all__ = ["Scaffold"]

_FILE = re.compile(r"scaffold-after-round-(\d+)\.safetensors")


class Scaffold:
    """A site's control variates, one for each trained parameter.

        scaffold = Scaffold(net)
        while flare.is_running():
            received = flare.receive()
            net.load_state_dict(received.params)
            scaffold.start(received)
            for images, labels in batches:
                optimizer.zero_grad()
                cross_entropy(net(images), labels).backward()
                scaffold.correct()
                optimizer.step()
            difference = scaffold.finish(steps=len(batches), learning_rate=0.1)
            flare.send(flare.FLModel(params=net.state_dict(), optimizer_params=difference))

    The site's own controls are kept in a file for each of the last two rounds, so a script that is started anew goes on
    with them. A round that is done again begins with those that it began with before, and so does one after rounds
    whose replies the server has not used, as they came too late. They are kept in at least
    float32; what is added to gradients and what is sent has the parameter's dtype and device.

    Args:
        net: the network that is trained.
        folder: where the files lie; the script's working folder if left out.

    Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II.
    """

    def __init__(self, net: torch.nn.Module, folder: str | Path = ".") -> None:
        self.net = net
        self._folder = Path(folder).absolute()
        self._round: int | None = None
        self._limit = 0  # controls are those of a round before this one
        self._received: dict[str, torch.Tensor] = {}
        self._global: dict[str, torch.Tensor] = {}
        self._own: dict[str, torch.Tensor] = {}
        self._correction: dict[str, torch.Tensor] = {}
        self._corrected = 0  # how often, in this round

    def start(self, received: FLModel | None) -> None:
        """Begin a round with the model received and, in its ``optimizer_params``, the server's control variates.

        Without any, as in a first round, they are zero.

        Raises:
            ModelError: the params or the controls do not fit the network; names the key.
        """
        self._received = received_values(self.net, received)
        assert received is not None
        self._round = received.current_round or 0
        unused_since = received.meta.get(MetaKey.NOT_USED_SINCE)
        self._limit = self._round if unused_since is None else min(self._round, unused_since)
        parameters = {name: parameter.detach() for name, parameter in trainable(self.net).items()}
        zeros = {name: torch.zeros_like(parameter, dtype=_wide(parameter)) for name, parameter in parameters.items()}
        path = self._before()
        self._own = zeros if path is None else like(zeros, read_file(path), what=f"{path.name}", copy=True)
        controls = received.optimizer_params or zeros
        self._global = like(zeros, controls, what="optimizer_params of the model received")
        self._correction = {
            name: (self._global[name] - self._own[name]).to(parameter.dtype) for name, parameter in parameters.items()
        }
        self._corrected = 0

    def correct(self) -> None:
        """Add the difference of the server's and the site's controls to the gradients, once for each ``step()``, before
        it and after the last ``backward()``.

        Gradients must not be scaled (unscale those of a ``GradScaler`` before), nor clipped yet. A parameter that the
        loss does not depend on has a gradient of zero, so its gradient is the correction.

        Raises:
            ClientApiError: :meth:`start` was not called in this round, or other parameters were trained then.
        """
        self._check_started("correct")
        self._corrected += 1
        for name, parameter in trainable(self.net).items():
            if parameter.grad is None:
                parameter.grad = self._correction[name].clone()
            else:
                parameter.grad.add_(self._correction[name])

    @torch.no_grad()
    def finish(self, steps: int, learning_rate: float) -> dict[str, torch.Tensor]:
        """End the round: renew the site's controls, keep them, and return by how much they have changed.

        Args:
            steps: how many steps the optimizer made in this round, those that a ``GradScaler`` skipped included.
            learning_rate: what the optimizer multiplied gradients with; the mean over the steps where it changed. It is
                one for all parameters, and of an optimizer without momentum, for which the formula is meant.
        Returns:
            What is to be sent as ``optimizer_params``: one tensor for each trained parameter, of its shape, dtype and
            device.
        Raises:
            ClientApiError: :meth:`start` was not called in this round, or :meth:`correct` not once for each step.
            RecipeError: no step, or a learning rate that is not above 0.
        """
        self._check_started("finish")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise RecipeError(f"steps is {steps!r}; give how many steps the optimizer made, at least 1")
        if not math.isfinite(learning_rate) or learning_rate <= 0:
            raise RecipeError(f"learning_rate is {learning_rate!r}; give that of the optimizer, a number above 0")
        if self._corrected != steps:
            raise ClientApiError(
                f"correct() was called {self._corrected} times for {steps} steps; call it once for each, before step()."
                " With gradient accumulation, that is after the last backward() of a step"
            )
        difference = {}
        for name, parameter in trainable(self.net).items():
            wide = self._own[name].dtype
            drift = (self._received[name].to(wide) - parameter.to(wide)) / (steps * learning_rate)
            difference[name] = (drift - self._global[name]).to(parameter.dtype)
            # As it is sent, rounded, so that the server's controls stay the mean of the sites'.
            self._own[name] = self._own[name] + difference[name]
        self._keep()
        self._received, self._global, self._correction = {}, {}, {}
        return difference

    def _check_started(self, method: str) -> None:
        if not self._correction:
            raise ClientApiError(f"{method}() outside a round; call start(received) first, and finish() once")
        for name in trainable(self.net).keys() ^ self._correction.keys():
            raise ClientApiError(
                f"{name!r} was frozen or unfrozen since start(received); choose what is trained before the round begins"
            )

    def _keep(self) -> None:
        assert self._round is not None
        kept = {name: to_numpy(value, key=name) for name, value in self._own.items()}
        before = self._before()
        path = self._folder / f"scaffold-after-round-{self._round}.safetensors"
        write_file(path, kept)
        for _, other in self._files():
            if other not in (before, path):  # older ones, and those of later rounds that are done again
                other.unlink()

    def _before(self) -> Path | None:
        """The file with which the round begins: that of the last one before it whose reply the server has used."""
        earlier = [entry for entry in self._files() if entry[0] < self._limit]
        return max(earlier)[1] if earlier else None

    def _files(self) -> list[tuple[int, Path]]:
        found = ((_FILE.fullmatch(path.name), path) for path in self._folder.iterdir())
        return [(int(match[1]), path) for match, path in found if match is not None]


def _wide(parameter: torch.Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)
