"""Simulation of job folders, with the results where NVIDIA FLARE's simulator has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flare_core import RecipeError, Run
from flare_core.job import SERVER, Job
from flare_runtime import SimEnv
from nvflare._flare.layout import lay_out, outputs_of
from nvflare._host.jobs import load_any_job


def simulate(
    folder: str | Path,
    workspace: str | Path,
    *,
    n_clients: int | None = None,
    clients: Sequence[str] | None = None,
    threads: int | None = None,
    gpu: str | None = None,
    log_config: str | None = None,
) -> Run:
    """Run a job folder in a simulation, and return the run.

    Args:
        folder: the job's folder.
        workspace: the folder of the results.
        n_clients: the number of sites, unless the job names them.
        clients: the names of the sites.
        threads: how many scripts run at a time.
        gpu: the GPUs for each group of sites.
        log_config: a level, or the path of a logging configuration.
    Raises:
        RecipeError: the number of sites is missing.
        JobFailed: the run has failed.
    """
    job = load_any_job(folder)
    names = list(clients or []) or _named(job, n_clients)
    env = SimEnv(
        num_clients=0 if names else n_clients or 0,
        clients=names or None,
        num_threads=threads,
        gpu_config=gpu,
        log_config=log_config,
        workspace_root=Path(workspace).expanduser().absolute(),
    )
    run = env.deploy(job)
    lay_out(run, Path(workspace).expanduser().absolute(), outputs_of(job), job)
    run.get_result()
    return run


def _named(job: Job, count: int | None) -> list[str]:
    """Return the sites that a job names, if it has no app for all others, or no number was given."""
    named = [site for site in job.sites if site != SERVER]
    if count is None and not named:
        raise RecipeError(f"give the number of sites: the job {job.name} does not name them")
    return named if count is None or not job.client.executors else []
