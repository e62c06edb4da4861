"""PTFileModelPersistor: a PyTorch model in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, WorkspaceConstants
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable
from nvflare.app_common.abstract.model_persistor import ModelDescriptor, ModelPersistor
from nvflare.app_common.app_constant import AppConstants, DefaultCheckpointFileName
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_opt.pt.model_persistence_format_manager import PTModelPersistenceFormatManager


class PTFileModelPersistor(ModelPersistor):
    """Stores a PyTorch model, as a dict with the state dict under ``model``.

    Args:
        exclude_vars: a regular expression of names that sites do not get.
        model: a module, the id of a component that is one, or ``{"path", "args"}``.
        global_model_file_name, best_global_model_file_name: the files in the app's folder.
        source_ckpt_file_full_name: a file with the model to begin with; a relative path is within the app's code.
        filter_id: the component that changes what is stored.
        load_weights_only: load files that hold nothing but weights.
        allow_numpy_conversion: arrays for sites, tensors in the file; otherwise tensors everywhere.
    """

    def __init__(
        self,
        exclude_vars: str | None = None,
        model: Any = None,
        global_model_file_name: str = DefaultCheckpointFileName.GLOBAL_MODEL,
        best_global_model_file_name: str = DefaultCheckpointFileName.BEST_GLOBAL_MODEL,
        source_ckpt_file_full_name: str | None = None,
        filter_id: str | None = None,
        load_weights_only: bool = True,
        allow_numpy_conversion: bool = True,
    ) -> None:
        super().__init__(filter_id=filter_id)
        self.exclude_vars = exclude_vars
        self.model = model
        self.global_model_file_name = global_model_file_name
        self.best_global_model_file_name = best_global_model_file_name
        self.source_ckpt_file_full_name = source_ckpt_file_full_name
        self.load_weights_only = load_weights_only
        self.allow_numpy_conversion = allow_numpy_conversion
        self._excluded = re.compile(exclude_vars) if exclude_vars else None
        self._folder = Path()
        self.persistence_manager: PTModelPersistenceFormatManager | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Prepare for the run, and store the best model."""
        if event_type == EventType.START_RUN:
            self._initialize(fl_ctx)
        elif event_type == AppEventType.GLOBAL_BEST_MODEL_AVAILABLE:
            model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
            if model:
                self._manager(fl_ctx).update(model)
            self.save_model_file(str(self._folder / self.best_global_model_file_name))

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Return the model to begin with: that of the given file, else that of the module.

        Raises:
            ValueError: the file does not exist, or there is no model.
        """
        if self.source_ckpt_file_full_name:
            path = Path(self.source_ckpt_file_full_name)
            if not path.is_absolute():
                path = self._code_file(path, fl_ctx)
            if not path.is_file():
                raise ValueError(f"the checkpoint {path} does not exist at the server")
            data = torch.load(path, map_location="cpu", weights_only=self.load_weights_only)
        else:
            data = self.model.state_dict() if self.model is not None else {}
        conf = {"train": {"model": type(self.model).__name__}} if self.model is not None else None
        self.persistence_manager = PTModelPersistenceFormatManager(data, conf, self.allow_numpy_conversion)
        return self.persistence_manager.to_model_learnable(self._excluded)

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Store a model."""
        self._manager(fl_ctx).update(model)
        self.save_model_file(str(self._folder / self.global_model_file_name))

    def save_model_file(self, save_path: str) -> None:
        """Write the model to a file; a subclass can override this."""
        if self.persistence_manager is not None:
            torch.save(self.persistence_manager.to_persistence_dict(), save_path)

    def get_model(self, model_file: str, fl_ctx: FLContext) -> ModelLearnable | None:
        """Return a stored model; None if there is none of that name."""
        found = self.get_model_inventory(fl_ctx).get(model_file)
        if found is None:
            return None
        data = torch.load(found.location, map_location="cpu", weights_only=self.load_weights_only)
        return PTModelPersistenceFormatManager(data, None, self.allow_numpy_conversion).to_model_learnable(
            self._excluded
        )

    def get_model_inventory(self, fl_ctx: FLContext) -> dict[str, ModelDescriptor]:
        """Return the stored models by name."""
        found = {}
        places = [self._folder / self.global_model_file_name, self._folder / self.best_global_model_file_name]
        if self.source_ckpt_file_full_name:
            places.insert(0, Path(self.source_ckpt_file_full_name))
        form = self._manager(fl_ctx).get_persist_model_format()
        for path in places:
            if path.is_file():
                found[path.name] = ModelDescriptor(path.name, str(path), form)
        return found

    def _initialize(self, fl_ctx: FLContext) -> None:
        root = Path(fl_ctx.get_prop(FLContextKey.APP_ROOT))
        self._folder = root / (fl_ctx.get_prop(AppConstants.LOG_DIR) or "")
        self._folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self.model, dict):
            self.model = fl_ctx.get_engine().build_component(self.model)
        elif isinstance(self.model, str):
            self.model = fl_ctx.get_engine().get_component(self.model)
        if self.model is not None and not isinstance(self.model, torch.nn.Module):
            raise TypeError(f"model is a {type(self.model).__name__}; give a torch.nn.Module")

    def _manager(self, fl_ctx: FLContext) -> PTModelPersistenceFormatManager:
        if self.persistence_manager is None:
            self.load_model(fl_ctx)
        assert self.persistence_manager is not None
        return self.persistence_manager

    def _code_file(self, path: Path, fl_ctx: FLContext) -> Path:
        """Return the path of a file of the app's code, which is on the import path."""
        import sys

        own = Path(fl_ctx.get_prop(FLContextKey.APP_ROOT)) / WorkspaceConstants.CUSTOM_FOLDER_NAME / path
        places = [own, *(Path(each) / path for each in sys.path)]
        return next((place for place in places if place.is_file()), own)
