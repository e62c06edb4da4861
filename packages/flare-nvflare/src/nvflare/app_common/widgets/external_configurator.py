"""ExternalConfigurator, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class ExternalConfigurator(ScriptPart):
    """Has no part in Flare, which tells scripts their settings itself. Its arguments are kept as they are."""

    def __init__(
        self,
        component_ids: Any,
        config_file_name: Any = "client_api_config.json",
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
