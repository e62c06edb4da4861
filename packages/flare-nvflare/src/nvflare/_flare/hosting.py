"""Jobs with objects of NVIDIA FLARE's classes, which :mod:`nvflare._host` runs."""

from __future__ import annotations

from dataclasses import replace

from flare_core import Job
from flare_core.code import TemporaryFolder
from nvflare._flare.job_form import JobForm


def job_of(form: JobForm) -> Job:
    """Return the job of a job folder that was not written yet."""
    from nvflare._host.jobs import load_job_folder

    scratch = TemporaryFolder()  # exists as long as the job needs its code
    form.write(scratch.folder / "job")
    job = load_job_folder(scratch.folder / "job")
    job.code = replace(job.code, owner=scratch)
    for app in job.sites.values():
        if app.code is not None:
            app.code = replace(app.code, owner=scratch)
    return job
