"""SubprocessLauncher, for jobs that name it: Flare starts and reaches scripts itself."""

from __future__ import annotations

from typing import Any

from nvflare._host.parts import ScriptPart


class SubprocessLauncher(ScriptPart):
    """Names the command that starts a script. Its arguments are kept as they are."""

    def __init__(
        self,
        script: Any,
        launch_once: Any = True,
        clean_up_script: Any = None,
        shutdown_timeout: Any = 0.0,
    ) -> None:
        super().__init__({k: v for k, v in locals().items() if k not in ("self", "__class__")})
