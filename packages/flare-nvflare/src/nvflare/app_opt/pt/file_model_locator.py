"""PTFileModelLocator: finds the models that a persistor has stored."""

from __future__ import annotations

from typing import Any

from nvflare.apis.dxo import DXO
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import model_learnable_to_dxo
from nvflare.app_common.abstract.model_locator import ModelLocator
from nvflare.app_common.abstract.model_persistor import ModelPersistor


class PTFileModelLocator(ModelLocator):
    """Finds the models that a persistor has stored.

    Args:
        pt_persistor_id: the persistor.
    """

    def __init__(self, pt_persistor_id: str) -> None:
        super().__init__()
        self.pt_persistor_id = pt_persistor_id
        self.model_persistor: Any = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Find the persistor.

        Raises:
            TypeError: the component is no persistor.
        """
        if event_type == EventType.START_RUN:
            self.model_persistor = fl_ctx.get_engine().get_component(self.pt_persistor_id)
            if not isinstance(self.model_persistor, ModelPersistor):
                kind = type(self.model_persistor).__name__
                raise TypeError(f"the component {self.pt_persistor_id!r} is a {kind}, no ModelPersistor")

    def get_model_names(self, fl_ctx: FLContext) -> list[str]:
        """Return the names of the models."""
        return list(self.model_persistor.get_model_inventory(fl_ctx))

    def locate_model(self, model_name: str, fl_ctx: FLContext) -> DXO | None:
        """Return a model; None if there is none of that name."""
        model = self.model_persistor.get(model_name, fl_ctx)
        return None if model is None else model_learnable_to_dxo(model)
