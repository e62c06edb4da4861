"""Jobs and parts of jobs with objects of NVIDIA FLARE's classes, which :mod:`nvflare._host` runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from flare_core import Job, Observer, Service
from flare_core.code import TemporaryFolder
from flare_core.components import Component
from nvflare._flare.describe import describe
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


def component_of(component: Any) -> Component:
    """Return a component for the job of a recipe: one of Flare's as it is, any other in a host of its own."""
    if isinstance(component, Observer | Service):
        return Component.of(component, what="a component")
    settings = {"components": [{"id": "component", **describe(component)}]}
    return Component("nvflare._host.server.PartHost", {"settings": json.dumps(settings)})
