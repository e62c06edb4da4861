"""JoblibModelParamPersistor: parameters of a scikit-learn model in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor


class JoblibModelParamPersistor(ModelPersistor):
    """Stores parameters of a model with joblib.

    Args:
        initial_params: the parameters to begin with.
        save_name: the file in the app's folder.
        source_ckpt_file_full_name: a file with the parameters to begin with.
    """

    def __init__(
        self,
        initial_params: Any = None,
        save_name: str = "model_param.joblib",
        source_ckpt_file_full_name: str | None = None,
    ) -> None:
        super().__init__()
        self.initial_params = initial_params
        self.save_name = save_name
        self.source_ckpt_file_full_name = source_ckpt_file_full_name

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Return the parameters to begin with."""
        import joblib  # comes with scikit-learn

        path = Path(self.source_ckpt_file_full_name) if self.source_ckpt_file_full_name else self._path(fl_ctx)
        if path.is_file():
            return make_model_learnable(joblib.load(path), {})
        return make_model_learnable(self.initial_params or {}, {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Store parameters."""
        import joblib  # comes with scikit-learn

        joblib.dump(model[ModelLearnableKey.WEIGHTS], self._path(fl_ctx))

    def _path(self, fl_ctx: FLContext) -> Path:
        return Path(fl_ctx.get_engine().get_workspace().get_app_dir(fl_ctx.get_job_id())) / self.save_name
