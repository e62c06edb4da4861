"""The client side of SCAFFOLD, which corrects gradients for the drift between sites with different data."""

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

    The site's control variates are saved in one file for each of the last two rounds, so a restarted script resumes
    with them. A repeated round starts from the same control variates as the first attempt, and rounds whose replies
    arrived too late for the server to use are undone. The files hold at least float32; corrections and the values to
    send have the parameter's dtype and device.

    Args:
        net: the network being trained.
        folder: folder of the files; by default the script's working folder.

    Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II.
    """

    def __init__(self, net: torch.nn.Module, folder: str | Path = ".") -> None:
        self.net = net
        self._folder = Path(folder).absolute()
        self._round: int | None = None
        self._limit = 0  # only files of earlier rounds count
        self._received: dict[str, torch.Tensor] = {}
        self._global: dict[str, torch.Tensor] = {}
        self._own: dict[str, torch.Tensor] = {}
        self._correction: dict[str, torch.Tensor] = {}
        self._corrected = 0  # calls of correct() in this round

    def start(self, received: FLModel | None) -> None:
        """Begin a round with the received model, whose ``optimizer_params`` hold the server's control variates.

        Missing control variates, as in the first round, count as zero.

        Raises:
            ModelError: the params or the control variates do not fit the network; names the key.
        """
        self._received = received_values(self.net, received)
        assert received is not None
        self._round = received.current_round or 0
        unused_since = received.meta.get(MetaKey.NOT_USED_SINCE)
        self._limit = self._round if unused_since is None else min(self._round, unused_since)
        parameters = {name: parameter.detach() for name, parameter in trainable(self.net).items()}
        zeros = {name: torch.zeros_like(parameter, dtype=_wide(parameter)) for name, parameter in parameters.items()}
        path = self._starting_file()
        self._own = zeros if path is None else like(zeros, read_file(path), what=path.name, copy=True)
        controls = received.optimizer_params or zeros
        self._global = like(zeros, controls, what="optimizer_params of the received model")
        self._correction = {
            name: (self._global[name] - self._own[name]).to(parameter.dtype) for name, parameter in parameters.items()
        }
        self._corrected = 0

    def correct(self) -> None:
        """Add the difference between the server's and the site's control variates to the gradients.

        Call this once before each ``step()``, after the last ``backward()`` and before any clipping; with a
        ``GradScaler``, unscale the gradients first. A missing gradient counts as zero.

        Raises:
            ClientApiError: :meth:`start` was not called in this round, or the set of trainable parameters has changed
                since.
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
        """End the round: update and save the site's control variates, and return their change.

        Args:
            steps: number of optimizer steps in this round, including those that a ``GradScaler`` skipped.
            learning_rate: the optimizer's learning rate, the same for all parameters; if it changed, the mean over the
                steps. The formula assumes an optimizer without momentum.
        Returns:
            The ``optimizer_params`` to send: a tensor for each trainable parameter, of its shape, dtype and device.
        Raises:
            ClientApiError: :meth:`start` was not called in this round, or :meth:`correct` was not called once for each
                step.
            RecipeError: ``steps`` is not at least 1, or ``learning_rate`` is not above 0.
        """
        self._check_started("finish")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise RecipeError(f"steps is {steps!r}; give the number of optimizer steps, at least 1")
        if not math.isfinite(learning_rate) or learning_rate <= 0:
            raise RecipeError(f"learning_rate is {learning_rate!r}; give the optimizer's, a number above 0")
        if self._corrected != steps:
            raise ClientApiError(
                f"correct() was called {self._corrected} times for {steps} steps; call it once before each step(), with"
                " gradient accumulation after the last backward() of the step"
            )
        difference = {}
        for name, parameter in trainable(self.net).items():
            wide = self._own[name].dtype
            drift = (self._received[name].to(wide) - parameter.to(wide)) / (steps * learning_rate)
            difference[name] = (drift - self._global[name]).to(parameter.dtype)
            # Add the rounded difference that is sent, so that the server's controls stay the mean of the sites'.
            self._own[name] = self._own[name] + difference[name]
        self._save()
        self._received, self._global, self._correction = {}, {}, {}
        return difference

    def _check_started(self, method: str) -> None:
        if not self._correction:
            raise ClientApiError(
                f"{method}() was called outside a round; call start(received) first, and finish() once"
            )
        for name in trainable(self.net).keys() ^ self._correction.keys():
            raise ClientApiError(
                f"{name!r} was frozen or unfrozen after start(received); freeze parameters before the round begins"
            )

    def _save(self) -> None:
        start = self._starting_file()
        path = self._folder / f"scaffold-after-round-{self._round}.safetensors"
        write_file(path, {name: to_numpy(value, key=name) for name, value in self._own.items()})
        for _, other in self._files():
            if other not in (start, path):  # older rounds, and later ones that will be repeated
                other.unlink()

    def _starting_file(self) -> Path | None:
        """Return the file that the round starts from: that of the last earlier round whose reply the server used."""
        earlier = [entry for entry in self._files() if entry[0] < self._limit]
        return max(earlier)[1] if earlier else None

    def _files(self) -> list[tuple[int, Path]]:
        found = ((_FILE.fullmatch(path.name), path) for path in self._folder.iterdir())
        return [(int(match[1]), path) for match, path in found if match is not None]


def _wide(parameter: torch.Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)
