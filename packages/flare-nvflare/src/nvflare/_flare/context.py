"""The context that objects of NVIDIA FLARE's classes are given where Flare's own executors call them."""

from __future__ import annotations

from typing import Any

from flare_core import SiteContext
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext


def context_of(site: str, context: SiteContext | None = None) -> FLContext:
    """Return a context that knows the site's name, and the run's folder and id if they are known.

    Args:
        site: the name of the site.
        context: the site, as Flare's executors know it.
    """
    fl_ctx = FLContext()
    fl_ctx.put(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
    if context is not None:
        for key, value in ((ReservedKey.RUN_NUM, _job_id(context)), (FLContextKey.APP_ROOT, str(context.folder))):
            fl_ctx.put(key, value, private=True, sticky=False)
    return fl_ctx


def as_fl_context(context: Any) -> FLContext:
    """Return the context of a site in NVIDIA FLARE's form; one that has it is returned unchanged."""
    return context if isinstance(context, FLContext) else context_of(context.party, context)


def _job_id(context: SiteContext) -> str:
    return str(getattr(context, "job_id", "simulate_job"))


def fill_in_site(component: Any, site: str) -> None:
    """Replace ``{SITE_NAME}`` by the name of the site in each attribute of an object that is text."""
    for name, value in vars(component).items():
        if isinstance(value, str) and "{SITE_NAME}" in value:
            setattr(component, name, value.replace("{SITE_NAME}", site))
