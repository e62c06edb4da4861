"""NPModelLocator: finds NumPy models that a persistor has stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model_locator import ModelLocator
from nvflare.app_common.np.constants import NPConstants
from nvflare.app_common.np.utils import read_stored

_REMEDY = (
    "put a workflow that trains before CrossSiteModelEval, or name the folder and the file of a model that exists at"
    " the server as model_dir and model_name of NPModelLocator"
)


class NPModelLocator(ModelLocator):
    """Finds NumPy models.

    Args:
        model_dir: the folder in the run's; an absolute path is used as it is.
        model_name: the file, or a dict of files by the name of the model.
    """

    SERVER_MODEL_NAME = "server"

    def __init__(self, model_dir: str = "models", model_name: Any = "server.npy") -> None:
        super().__init__()
        self.model_dir = model_dir or "models"
        self.model_name = model_name or "server.npy"

    def get_model_names(self, fl_ctx: FLContext) -> list[str]:
        """Return the names of the models."""
        return list(self._files())

    def locate_model(self, model_name: str, fl_ctx: FLContext) -> DXO | None:
        """Return a model; None if there is none of that name.

        Raises:
            ModelError: its file does not exist.
        """
        workspace = fl_ctx.get_engine().get_workspace()
        file = self._files().get(model_name)
        if file is None:
            return None
        path = Path(workspace.get_run_dir(fl_ctx.get_job_id())) / self.model_dir / file
        return DXO(DataKind.WEIGHTS, {NPConstants.NUMPY_KEY: read_stored(path, "server", _REMEDY)})

    def _files(self) -> dict[str, str]:
        return dict(self.model_name) if isinstance(self.model_name, dict) else {self.SERVER_MODEL_NAME: self.model_name}
