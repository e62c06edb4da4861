"""ProdEnv: the sites of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flare_core import Job, RecipeError, Run
from nvflare._flare.deployed import DeployedEnv
from nvflare._flare.names import check_import


class ProdEnv(DeployedEnv):
    """The sites of a project, with :class:`flare_deploy.ProdEnv`.

    Args:
        startup_kit_location: an administrator's kit, made by Flare's provisioning.
        login_timeout: seconds to wait for the server to answer.
        username: without effect; the kit says who its owner is.
        study: the study whose sites run the job.
        extra: further settings; none is used.
    Raises:
        RecipeError: there is no such folder, or the time is not above 0.
    """

    def __init__(
        self,
        startup_kit_location: str,
        login_timeout: float = 5.0,
        username: str = "admin@nvidia.com",
        extra: dict[str, Any] | None = None,
        *,
        study: str = "default",
    ) -> None:
        super().__init__(extra)
        if not isinstance(startup_kit_location, str | Path) or not Path(startup_kit_location).is_dir():
            raise RecipeError(f"startup_kit_location is {startup_kit_location!r}, which is no folder; give a kit's")
        if not isinstance(login_timeout, int | float) or login_timeout <= 0:
            raise RecipeError(f"login_timeout is {login_timeout!r}; give a number of seconds above 0")
        check_import("flare-nvflare[deploy]", "flare_deploy", "nvflare.recipe.ProdEnv")
        from flare_deploy import ProdEnv as FlareProdEnv

        self.startup_kit_location = startup_kit_location
        self._env = FlareProdEnv(startup_kit_location, study=study, login_timeout=login_timeout)

    def start(self, job: Job) -> Run:
        return self._env.deploy(job)
