"""LRModelPersistor: the weights of a logistic regression in a file."""

from __future__ import annotations

import numpy as np

from nvflare.app_common.np.np_model_persistor import NPModelPersistor


class LRModelPersistor(NPModelPersistor):
    """Stores the weights of a logistic regression, which are zero at first.

    Args:
        model_dir: the folder in the run's.
        model_name: the file.
        n_features: the number of features; there is one more weight, the intercept.
        source_ckpt_file_full_name: a file with the weights to begin with.
    """

    def __init__(
        self,
        model_dir: str = "models",
        model_name: str = "weights.npy",
        n_features: int = 13,
        source_ckpt_file_full_name: str | None = None,
    ) -> None:
        super().__init__(model_dir, model_name, None, source_ckpt_file_full_name)
        self.n_features = n_features

    def first(self) -> object:
        """Return the weights to begin with, if no file has some."""
        return np.zeros((self.n_features + 1, 1))
