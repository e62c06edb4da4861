"""ModelPersistor, which stores models."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor
from nvflare.app_common.abstract.model import ModelLearnable
from nvflare.app_common.abstract.persistor_filter import PersistorFilter


class ModelDescriptor:
    """Where a stored model is, and in which form.

    Args:
        name: its name.
        location: its file.
        format: the form.
        props: further properties.
    """

    def __init__(self, name: str, location: str, format: str, props: dict[str, Any] | None = None) -> None:
        self.name = name
        self.location = location
        self.format = format
        self.props = props or {}


class ModelPersistor(LearnablePersistor):
    """Stores models.

    Args:
        filter_id: the component that changes what is stored; None if there is none.
    """

    def __init__(self, filter_id: str | None = None) -> None:
        super().__init__()
        self.filter_id = filter_id

    def load(self, fl_ctx: FLContext) -> Any:
        """Return the model to begin with."""
        return self._filtered("process_post_load", self.load_model(fl_ctx), fl_ctx)

    def save(self, learnable: Any, fl_ctx: FLContext) -> None:
        """Store a model."""
        self.save_model(self._filtered("process_pre_save", learnable, fl_ctx), fl_ctx)
        self._filtered("process_post_save", learnable, fl_ctx)

    def get(self, model_file: str, fl_ctx: FLContext) -> Any:
        """Return a stored model."""
        return self._filtered("process_post_get", self.get_model(model_file, fl_ctx), fl_ctx)

    @abstractmethod
    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Return the model to begin with."""

    @abstractmethod
    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Store a model."""

    def get_model_inventory(self, fl_ctx: FLContext) -> dict[str, ModelDescriptor]:
        """Return the stored models by name."""
        return {}

    def get_model(self, model_file: str, fl_ctx: FLContext) -> ModelLearnable | None:
        """Return a stored model; None if there is none of that name."""
        return None

    def _filtered(self, method: str, learnable: Any, fl_ctx: FLContext) -> Any:
        if not self.filter_id:
            return learnable
        found = fl_ctx.get_engine().get_component(self.filter_id)
        if not isinstance(found, PersistorFilter):
            raise TypeError(f"the component {self.filter_id!r} is a {type(found).__name__}, no PersistorFilter")
        return getattr(found, method)(learnable, fl_ctx)
