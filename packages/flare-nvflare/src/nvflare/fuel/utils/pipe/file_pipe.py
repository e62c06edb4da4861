"""FilePipe, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class FilePipe(ScriptPart):
    """Has no part in Flare, which reaches scripts itself. Its arguments are kept as they are."""

    def __init__(
        self,
        mode: Any,
        root_path: Any,
        file_check_interval: Any = 0.1,
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
