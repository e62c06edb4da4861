"""ModelLearner: what a site does in a federation, with models in and out."""

from __future__ import annotations

from typing import Any

from flare_core import FLModel
from nvflare.app_common.utils.fl_component_wrapper import FLComponentWrapper


class ModelLearner(FLComponentWrapper):
    """Trains and evaluates at a site; for :class:`ModelLearnerExecutor`."""

    STATE: Any = None
    args: Any = None
    site_name: str = ""
    job_id: str = ""
    current_round: Any = 0
    total_rounds: Any = 0

    def train(self, model: FLModel) -> Any:
        """Train, and return the model, or a return code.

        Raises:
            NotImplementedError: a subclass has no such method.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method train(model)")

    def get_model(self, model_name: str) -> Any:
        """Return the site's own model, or a return code.

        Raises:
            NotImplementedError: a subclass has no such method.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method get_model(model_name)")

    def validate(self, model: FLModel) -> Any:
        """Evaluate a model, and return one with metrics, or a return code.

        Raises:
            NotImplementedError: a subclass has no such method.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method validate(model)")

    def configure(self, model: FLModel) -> None:
        """Take settings from the server."""

    def abort(self) -> None:
        """Stop the work."""
