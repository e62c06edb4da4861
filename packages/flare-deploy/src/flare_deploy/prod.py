"""ProdEnv: run a job at real sites, through a server that an administrator may submit to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flare_core import Job, RecipeError
from flare_deploy.admin import Admin
from flare_deploy.provision.kit import Kit
from flare_deploy.server_run import ServerRun
from flare_runtime.display import count, size_text
from flare_runtime.job_code import importable
from flare_runtime.run.controller import persistor_of
from flare_runtime.run.folder import default_workspace
from flare_runtime.terminal import one_line

__all__ = ["ProdEnv"]

KIT_VARIABLE = "FLARE_KIT"
MOST_NAMED = 12  # files; of the others, it is said how many there are


class ProdEnv:
    """The federation of a project.

    Args:
        startup_kit_location: an administrator's kit; ``$FLARE_KIT`` if left out.
        study: who takes part in it runs the job.
        priority: jobs with a higher one start first.
        login_timeout: seconds to wait for the server to answer.
        workspace_root: where run folders are put; ``$FLARE_WORKSPACE``, else ``flare-runs`` in the working folder.

    Raises:
        RecipeError: no kit was given.
        KitError: it cannot be used; says why.
    """

    def __init__(
        self,
        startup_kit_location: str | Path | None = None,
        *,
        study: str = "default",
        priority: int = 0,
        login_timeout: float = 10.0,
        workspace_root: str | Path | None = None,
    ) -> None:
        location = startup_kit_location or os.environ.get(KIT_VARIABLE)
        if not location:
            raise RecipeError(f"give startup_kit_location, an administrator's kit, or set {KIT_VARIABLE}")
        self.kit = Kit.load(location, kind="admin")
        self.study = study
        self.priority = priority
        self.login_timeout = login_timeout
        self.workspace_root = None if workspace_root is None else Path(workspace_root).expanduser().absolute()

    def deploy(self, job: Job) -> ServerRun:
        """Submit ``job``, and say on the standard error stream which files leave this machine with it.

        Raises:
            AdminError: the server cannot be reached, or refuses the job.
        """
        with importable(job.code):
            persistor = persistor_of(job)
        admin = Admin.connect(self.kit, timeout_s=self.login_timeout)
        print(files_shown(job), file=sys.stderr)
        try:
            submitted = admin.submit(job, study=self.study, priority=self.priority)
        except BaseException:
            admin.close()
            raise
        return ServerRun(admin, submitted, self.workspace_root or default_workspace(), persistor)


def files_shown(job: Job) -> str:
    """Say in one line which files leave this machine with a job, the largest first."""
    codes = {"": job.code, **{f"{site}/": app.code for site, app in job.sites.items() if app.code is not None}}
    sizes = {
        f"{whose}{place}": code.locate(str(place)).stat().st_size
        for whose, code in codes.items()
        for place in (*code.files, *code.extra)
    }
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    shown = ", ".join(f"{one_line(name)} ({size_text(sizes[name])})" for name in names[:MOST_NAMED])
    rest = f" and {len(names) - MOST_NAMED} smaller ones" if len(names) > MOST_NAMED else ""
    total = f"{count(len(names), 'file')}, {size_text(sum(sizes.values()))}"
    return f"sending {total}, to the server and the sites: {shown}{rest}"
