"""StatePersistable: what must survive if the process of a party is started again."""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_context import FLContext


class StatePersistable:
    """Has a state that can be kept. Flare keeps those of the server's components at the end of each round."""

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the state, of values that can be serialized; empty, as here, if there is none."""
        return {}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Take over a state that was kept; called after the event ``START_RUN``. Here, do nothing."""
