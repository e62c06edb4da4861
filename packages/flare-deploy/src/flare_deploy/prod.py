"""ProdEnv: run a job at the sites of a project, through its server."""

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

KIT_VARIABLE = "FLARE_KIT"
MAX_NAMED = 12  # files; the others are counted


class ProdEnv:
    """The sites of a project, as an environment for recipes.

    Args:
        startup_kit_location: an administrator's kit; ``$FLARE_KIT`` by default.
        study: the study whose sites run the job.
        priority: jobs with a higher priority start first.
        login_timeout: seconds to wait for the server to answer.
        workspace_root: the folder for run folders; ``$FLARE_WORKSPACE`` by default, else ``flare-runs`` in the working
            folder.

    Raises:
        RecipeError: no kit is given.
        KitError: the kit cannot be used; says why.
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
            raise RecipeError(f"give startup_kit_location, the folder of an administrator's kit, or set {KIT_VARIABLE}")
        self.kit = Kit.load(location, kind="admin")
        self.study = study
        self.priority = priority
        self.login_timeout = login_timeout
        self.workspace_root = None if workspace_root is None else Path(workspace_root).expanduser().absolute()

    def deploy(self, job: Job) -> ServerRun:
        """Submit ``job``; print to standard error which files leave this machine with it.

        Raises:
            AdminError: the server cannot be reached, or refuses the job.
        """
        with importable(job.code):
            persistor = persistor_of(job)
        admin = Admin.connect(self.kit, timeout_s=self.login_timeout)
        if text := files_text(job):
            print(text, file=sys.stderr)
        try:
            submitted = admin.submit(job, study=self.study, priority=self.priority)
        except BaseException:
            admin.close()
            raise
        return ServerRun(admin, submitted, self.workspace_root or default_workspace(), persistor)


def files_text(job: Job) -> str:
    """Return one line about the files that leave this machine with a job, the largest first; empty without files."""
    codes = {"": job.code, **{f"{site}/": app.code for site, app in job.sites.items() if app.code is not None}}
    sizes = {
        f"{prefix}{place}": code.locate(str(place)).stat().st_size
        for prefix, code in codes.items()
        for place in (*code.files, *code.extra)
    }
    if not sizes:
        return ""
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    shown = ", ".join(f"{one_line(name)} ({size_text(sizes[name])})" for name in names[:MAX_NAMED])
    rest = f" and {len(names) - MAX_NAMED} smaller ones" if len(names) > MAX_NAMED else ""
    total = f"{count(len(names), 'file')}, {size_text(sum(sizes.values()))}"
    return f"sending {total}, to the server and the sites: {shown}{rest}"
