"""PocEnv: a federation of processes on this machine."""

from __future__ import annotations

from typing import Any

from flare_core import Job, RecipeError, Run
from nvflare._flare.deployed import DeployedEnv
from nvflare._flare.names import check_import


class PocEnv(DeployedEnv):
    """A federation of processes on this machine, with :class:`flare_deploy.PocEnv`.

    Args:
        num_clients: the number of sites, unless ``clients`` names them.
        clients: the names of the sites.
        gpu_ids: the GPUs that the sites take in turn.
        use_he, docker_image, project_conf_path: not provided; see docs/migration.md.
        username, study: without effect; the federation is made for the job.
        extra: further settings; none is used.
    Raises:
        RecipeError: the names are empty, or one of the arguments that are not provided is given.
    """

    def __init__(
        self,
        *,
        num_clients: int = 2,
        clients: list[str] | None = None,
        gpu_ids: list[int] | None = None,
        use_he: bool = False,
        docker_image: str | None = None,
        project_conf_path: str = "",
        username: str = "admin@nvidia.com",
        study: str = "default",
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(extra)
        for name, value in (
            ("use_he", use_he),
            ("docker_image", docker_image),
            ("project_conf_path", project_conf_path),
        ):
            if value:
                raise RecipeError(
                    f"{name} is {value!r}, which Flare's PocEnv does not have; leave it out, or provision a project and"
                    " use ProdEnv"
                )
        if clients is not None and not clients:
            raise RecipeError("clients is empty; give names, or num_clients")
        check_import("flare-nvflare[deploy]", "flare_deploy", "nvflare.recipe.PocEnv")
        from flare_deploy import PocEnv as FlarePocEnv

        gpus = ",".join(f"[{each}]" for each in gpu_ids or ())
        self._env = FlarePocEnv(num_clients=None if clients else num_clients, clients=clients, gpu_config=gpus or None)
        self.clients = clients
        self.num_clients = len(self._env.clients)

    def start(self, job: Job) -> Run:
        return self._env.deploy(job)
