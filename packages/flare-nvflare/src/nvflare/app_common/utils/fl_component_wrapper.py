"""FLComponentWrapper: short methods for what components need a context for."""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class FLComponentWrapper(FLComponent):
    """A component that keeps its context, so that its methods need none."""

    fl_ctx: Any = None
    abort_signal: Any = None
    engine: Any = None

    def initialize(self, fl_ctx: FLContext | None = None) -> None:
        """Prepare the component."""

    def finalize(self) -> None:
        """Finish the component."""

    def is_aborted(self) -> bool:
        """Return True if the run ends."""
        return self.abort_signal is not None and bool(self.abort_signal.triggered)

    def event(self, event_type: str) -> None:
        """Fire an event."""
        self.fire_event(event_type, self.fl_ctx)

    def info(self, msg: str) -> None:
        """Log a message."""
        self.log_info(self.fl_ctx, msg)

    def error(self, msg: str) -> None:
        """Log an error."""
        self.log_error(self.fl_ctx, msg)

    def warning(self, msg: str) -> None:
        """Log a warning."""
        self.log_warning(self.fl_ctx, msg)

    def exception(self, msg: str) -> None:
        """Log a message with the traceback of the exception that is being handled."""
        self.log_exception(self.fl_ctx, msg)

    def debug(self, msg: str) -> None:
        """Log a message for debugging."""
        self.log_debug(self.fl_ctx, msg)

    def critical(self, msg: str) -> None:
        """Log a critical error."""
        self.log_critical(self.fl_ctx, msg)

    def panic(self, reason: str) -> None:
        """End the run with an error."""
        self.system_panic(reason, self.fl_ctx)

    def get_site_name(self) -> Any:
        """Return the name of the party."""
        return self.fl_ctx.get_identity_name()

    def get_job_id(self) -> Any:
        """Return the id of the run."""
        return self.fl_ctx.get_job_id()

    def get_engine(self) -> Any:
        """Return the party's engine."""
        return self.fl_ctx.get_engine()

    def get_run_dir(self) -> str:
        """Return the run's folder."""
        return str(self.get_engine().get_workspace().get_run_dir(self.get_job_id()))

    def get_app_dir(self) -> str:
        """Return the app's folder."""
        return str(self.get_engine().get_workspace().get_app_dir(self.get_job_id()))

    def get_component(self, component_id: str) -> Any:
        """Return a component of the party."""
        return self.get_engine().get_component(component_id)

    def build_component(self, config_dict: Any) -> Any:
        """Create a component from its description."""
        return self.get_engine().build_component(config_dict)

    def get_num_rounds(self) -> Any:
        """Return the number of rounds, as far as it is known."""
        from nvflare.app_common.app_constant import AppConstants

        return self.fl_ctx.get_prop(AppConstants.NUM_ROUNDS)
