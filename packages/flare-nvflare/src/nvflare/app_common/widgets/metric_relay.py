"""MetricRelay, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class MetricRelay(ScriptPart):
    """Has no part in Flare, which sends metrics itself. Its arguments are kept as they are."""

    def __init__(
        self,
        pipe_id: Any,
        read_interval: Any = 0.1,
        heartbeat_interval: Any = 5.0,
        heartbeat_timeout: Any = 60.0,
        pipe_channel_name: Any = "metric",
        event_type: Any = "analytix_log_stats",
        fed_event: Any = True,
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
