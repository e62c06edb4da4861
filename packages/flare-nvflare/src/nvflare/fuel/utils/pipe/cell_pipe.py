"""CellPipe, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class CellPipe(ScriptPart):
    """Has no part in Flare, which reaches scripts itself. Its arguments are kept as they are."""

    def __init__(
        self,
        mode: Any,
        site_name: Any,
        token: Any,
        root_url: Any = "",
        secure_mode: Any = True,
        workspace_dir: Any = "",
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
