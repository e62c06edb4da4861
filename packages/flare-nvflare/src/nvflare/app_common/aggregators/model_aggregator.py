"""ModelAggregator, which combines the models of sites."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from flare_core import Aggregator as FlareAggregator
from flare_core import FLModel, Reply
from flare_core.model import copied
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.utils.fl_model_utils import FLModelUtils


class ModelAggregator(Aggregator, FlareAggregator):
    """Combines the models of sites. It can be used in recipes of Flare as well."""

    fl_ctx: Any = None
    takes_sparse = False

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Keep the context."""
        if self.fl_ctx is None:
            self.fl_ctx = fl_ctx

    @abstractmethod
    def accept_model(self, model: FLModel) -> None:
        """Take the model of a site, whose name is ``meta["client_name"]``."""

    @abstractmethod
    def aggregate_model(self) -> FLModel:
        """Return what the models amount to."""

    @abstractmethod
    def reset_stats(self) -> None:
        """Forget the models."""

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Take the result of a site."""
        self.fl_ctx = fl_ctx
        model = FLModelUtils.from_shareable(shareable)
        model.meta["client_name"] = shareable.get_peer_prop("__identity_name__", AppConstants.CLIENT_UNKNOWN)
        self.accept_model(model)
        return True

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """Return what the results amount to."""
        self.fl_ctx = fl_ctx
        return FLModelUtils.to_shareable(self.aggregate_model())

    def reset(self, fl_ctx: FLContext | None = None) -> None:
        """Forget the models."""
        self.reset_stats()

    def add(self, reply: Reply) -> None:
        """Take a reply in a workflow of Flare."""
        model = reply.model
        self.accept_model(
            FLModel(
                params_type=model.params_type,
                params=copied(model.params or {}),
                metrics=model.metrics,
                current_round=reply.round,
                meta={**model.meta, "client_name": reply.site},
            )
        )

    def result(self) -> FLModel:
        """Return what the replies amount to."""
        return self.aggregate_model()

    def info(self, message: str) -> None:
        """Log a message."""
        self.logger.info("%s", message)

    def warning(self, message: str) -> None:
        """Log a warning."""
        self.logger.warning("%s", message)

    def error(self, message: str) -> None:
        """Log an error."""
        self.logger.error("%s", message)

    def debug(self, message: str) -> None:
        """Log a message for debugging."""
        self.logger.debug("%s", message)

    def exception(self, message: str) -> None:
        """Log a message with the traceback of the exception that is being handled."""
        self.logger.exception("%s", message)
