"""NPModelPersistor: a model of one NumPy array, in a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.np.constants import NPConstants
from nvflare.app_common.np.utils import load_numpy_model


class NPModelPersistor(ModelPersistor):
    """Stores a model of one NumPy array.

    Args:
        model_dir: the folder in the run's.
        model_name: the file.
        model: the model to begin with; a matrix of 1 to 9 if left out.
        source_ckpt_file_full_name: a file with the model to begin with.
    """

    def __init__(
        self,
        model_dir: str = "models",
        model_name: str = "server.npy",
        model: Any = None,
        source_ckpt_file_full_name: str | None = None,
    ) -> None:
        super().__init__()
        self.model_dir = model_dir
        self.model_name = model_name
        self.model = model
        self.source_ckpt_file_full_name = source_ckpt_file_full_name

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Return the model to begin with."""
        data = load_numpy_model(
            fl_ctx, logging.getLogger("nvflare"), self.source_ckpt_file_full_name, str(self._path(fl_ctx)), self.first
        )
        weights = data if isinstance(data, dict) else {NPConstants.NUMPY_KEY: data}
        return make_model_learnable(weights, {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Store a model."""
        path = self._path(fl_ctx)
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = model[ModelLearnableKey.WEIGHTS]
        np.save(path, weights[NPConstants.NUMPY_KEY] if NPConstants.NUMPY_KEY in weights else np.array(weights))

    def first(self) -> Any:
        """Return the model to begin with, if no file has one: an array, or arrays by name."""
        if self.model is None:
            return np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=np.float32)
        if isinstance(self.model, dict):
            return {key: np.asarray(value) for key, value in self.model.items()}
        return np.array(self.model, dtype=np.float32)

    def _path(self, fl_ctx: FLContext) -> Path:
        engine = fl_ctx.get_engine()
        return Path(engine.get_workspace().get_run_dir(fl_ctx.get_job_id())) / self.model_dir / self.model_name
