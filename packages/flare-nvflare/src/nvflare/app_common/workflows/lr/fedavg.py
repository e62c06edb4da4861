"""FedAvgLR: logistic regression with Newton-Raphson steps.

Source: Newton's method on the sum of the sites' log-likelihoods: theta + d (sum H)^-1 (sum g).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flare_core import FLModel, ParamsType
from nvflare.app_common.np.constants import NPConstants
from nvflare.app_common.workflows.base_fedavg import BaseFedAvg


class FedAvgLR(BaseFedAvg):
    """Sums the sites' gradients and Hessians, and takes a damped Newton step.

    Args:
        damping_factor: the length of the step.
        epsilon: is added to the diagonal of the Hessian.
        model_dir, model_name, n_features: as for :class:`LRModelPersistor`; used if there is no persistor component.
        aggregator: ignored: gradients and Hessians are averaged by their steps.
        persistor: an object to store the model with.
        args, kwargs: of :class:`BaseFedAvg`.
    """

    def __init__(
        self,
        damping_factor: float,
        epsilon: float = 1.0,
        model_dir: str = "models",
        model_name: str = "weights.npy",
        n_features: int = 13,
        aggregator: Any = None,
        persistor: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.damping_factor = damping_factor
        self.epsilon = epsilon
        self.model_dir = model_dir
        self.model_name = model_name
        self.n_features = n_features
        self.aggregator = aggregator
        self.persistor = self._given = persistor

    def initialize(self, fl_ctx: Any = None) -> None:
        """Find what stores the model."""
        super().initialize(fl_ctx)
        if fl_ctx is None and self.persistor is None:
            from nvflare.app_common.workflows.lr.np_persistor import LRModelPersistor

            own = LRModelPersistor(self.model_dir, self.model_name, self.n_features)
            self.persistor = self._given or own

    def run(self) -> None:
        """Run the rounds."""
        model = self.load_model()
        model.start_round, model.total_rounds = self.start_round, self.num_rounds
        for round_ in range(self.start_round, self.start_round + self.num_rounds):
            self.current_round = model.current_round = round_
            results = self.send_model_and_wait(targets=self.sample_clients(self.num_clients), data=model)
            mean = self.aggregate(results)
            gradient = np.asarray((mean.params or {})["gradient"])
            hessian = np.asarray((mean.params or {})["hessian"])
            hessian = hessian + self.epsilon * np.eye(len(hessian))
            step = self.damping_factor * np.linalg.solve(hessian, gradient)
            weights = {NPConstants.NUMPY_KEY: np.asarray((model.params or {})[NPConstants.NUMPY_KEY]) + step}
            update = FLModel(params_type=ParamsType.FULL, params=weights, metrics=mean.metrics)
            model = self.update_model(model, update)
            self.save_model(model)
