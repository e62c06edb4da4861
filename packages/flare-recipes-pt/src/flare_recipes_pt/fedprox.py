"""FedProx: a loss that keeps a site's model near the one it received."""

from __future__ import annotations

import math

import torch

from flare_core import ClientApiError, FLModel, RecipeError
from flare_recipes_pt.trainable import received_values, trainable


class ProximalLoss:
    """The proximal term of FedProx: ``mu / 2`` times the squared distance to the received model.

    Add it to the loss of every batch; the rest is federated averaging. Only trainable parameters count.

        proximal = ProximalLoss(net, mu=0.1)
        while flare.is_running():
            received = flare.receive()
            net.load_state_dict(received.params)
            proximal.start(received)
            ...
            loss = cross_entropy(net(images), labels) + proximal()

    Args:
        net: the network being trained.
        mu: strength of the term, at least 0; 0 is plain federated averaging.

    Raises:
        RecipeError: ``mu`` is not a finite number of at least 0.

    Source: Li et al. 2020, arXiv:1812.06127, equation 2.
    """

    def __init__(self, net: torch.nn.Module, mu: float) -> None:
        if not isinstance(mu, int | float) or not math.isfinite(mu) or mu < 0:
            raise RecipeError(f"mu is {mu!r}; give a finite number of at least 0")
        self.net = net
        self.mu = float(mu)
        self._received: dict[str, torch.Tensor] = {}

    def start(self, received: FLModel | None) -> None:
        """Copy the received values of the trainable parameters; call this when a round begins.

        Raises:
            ModelError: the received model does not fit the network; names the key.
        """
        self._received = received_values(self.net, received)

    def __call__(self) -> torch.Tensor:
        """Return the term for the network's current parameters: a scalar, at least float32, to add to the loss.

        Raises:
            ClientApiError: :meth:`start` was not called, or the set of trainable parameters has changed since.
        """
        if not self._received:
            raise ClientApiError("the proximal term has no reference model; call start(received) when a round begins")
        parameters = trainable(self.net)
        for name in parameters.keys() ^ self._received.keys():
            raise ClientApiError(
                f"{name!r} was frozen or unfrozen after start(received); call start(received) again after such a change"
            )
        terms = [
            (parameters[name] - value).to(torch.promote_types(value.dtype, torch.float32)).square().sum()
            for name, value in self._received.items()
        ]
        return torch.stack([term.to(terms[0].device) for term in terms]).sum() * (self.mu / 2)
