"""The job of a run as each party had it.

<run>/job/<name>/                                                    the job, as a folder
<party>/simulate_job/app_<party>/config/config_fed_<side>.json       a link to the party's part of it
<party>/simulate_job/app_<party>/custom/                             its code; at sites, without the server's own files
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core import Job, JobError
from flare_core.job import ALL_SITES, SERVER
from flare_core.job_folder import deployed_apps, export_job, files_below, read_meta
from flare_core.recipes.script import INITIAL_MODEL

logger = logging.getLogger(__name__)


def write_job(job: Job, run_folder: Path, *, weights: bool) -> Path | None:
    """Write the job of a run into its folder.

    Args:
        job: the job.
        run_folder: the run's folder.
        weights: write the weights to start from as well, which can be large.
    Returns:
        The folder of the job, or None if some of its parts cannot be described, as it is allowed in simulations.
    """
    extra = {place: path for place, path in job.code.extra.items() if place != PurePosixPath(INITIAL_MODEL)}
    kept = job if weights else replace(job, code=replace(job.code, extra=extra))
    try:
        return export_job(kept, run_folder / "job", checked=False)
    except JobError as error:
        shutil.rmtree(run_folder / "job", ignore_errors=True)
        logger.info("the results are without the job's own folder: %s", error)
        return None


def find_job(run_folder: Path) -> Path | None:
    """Return the folder of the job of a run, or None if it has none."""
    return next((path.parent for path in (run_folder / "job").glob("*/meta.json")), None)


def meta_of(job: Path | None, summary: Mapping[str, Any]) -> str:
    """Return the text of a meta.json: the entries of the job's, with its name and its sites."""
    meta = {} if job is None else read_meta(job)
    sites = [{"name": site} for site in summary.get("sites") or ()]
    return json.dumps(meta | {"name": summary["job"], "job_clients": sites}, indent=4) + "\n"


def link_app(job: Path, party: str, place: Path) -> None:
    """Link a party's part of a job.

    Args:
        job: the job's folder.
        party: the server or a site.
        place: the folder ``app_<party>``, which is created if it does not exist.
    """
    apps = deployed_apps(job)
    common = apps.get(ALL_SITES)
    app = apps.get(party, common)
    if app is None:
        return
    name = f"config_fed_{'server' if party == SERVER else 'client'}.json"
    config = place / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / name).symlink_to((job / app / "config" / name).resolve())
    meta = read_meta(job)
    has_own = (job / app / "custom").is_dir()
    code = job / (app if has_own else apps.get(SERVER, common) or app) / "custom"
    hidden = set(meta.get("server_files") or ()) if party != SERVER else set()
    for path in files_below(code):
        file = path.relative_to(code)
        if file.as_posix() not in hidden:
            link = place / "custom" / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
