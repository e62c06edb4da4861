"""The error that ended a run, for people: its kind, and the place in the job's own code where it was raised."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection
from pathlib import PurePath
from typing import Any

from flare_core import FlareError, SiteError


def reason_of(error: BaseException | None) -> str | None:
    """Return the text for the error that ended a run, with its traceback if there is one; None for no error."""
    return None if error is None else "\n".join(part for part in _parts(error) if part)


def failure_of(
    error: BaseException, *, sites: Collection[str], round_: int | None, reading: str | None
) -> dict[str, Any]:
    """Return the entry of a summary for the error that made a run fail: site, round, cause, traceback, log.

    Args:
        error: the error.
        sites: those of the run.
        round_: the round in which the run ended.
        reading: the site whose reply was in use.
    """
    site = error.site if isinstance(error, SiteError) else reading
    if site not in sites:  # a cell that serves several of them, or a name that a message made up
        site = None
    cause, trace = _parts(error)
    log = "log.txt" if site is None else f"sites/{site}/log.txt"  # within the run's folder, which can be moved
    return {"site": site, "round": round_, "cause": cause, "traceback": trace or None, "log": log}


def _parts(error: BaseException) -> tuple[str, str]:
    """Return the error in words, and a traceback or another text with details, which may be empty.

    Flare's own errors are in words already. Errors of the job's code at the server, such as an aggregator or an
    observer, are told with the place where they were raised, and the traceback from there on.
    """
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted with Ctrl-C", ""
    if isinstance(error, SiteError) and error.details:
        return str(error.args[0]), error.details.rstrip()
    if isinstance(error, FlareError):
        cause = error.__cause__
        of_job = None if cause is None or isinstance(cause, FlareError) else _of_job(cause)
        return str(error) or type(error).__name__, of_job[1] if of_job else ""
    return _of_job(error) or (_what(error), "")


def _what(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _is_of_job(module: str) -> bool:
    """Return whether a module is neither Flare's nor Python's, such as the one that finds the disk full."""
    return not module.startswith("flare_") and module.partition(".")[0] not in sys.stdlib_module_names


def _of_job(error: BaseException) -> tuple[str, str] | None:
    """Return what the job's own code raised and where, and the traceback; None if it was not the job's code."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [index for index, (frame, _) in enumerate(frames) if _is_of_job(str(frame.f_globals.get("__name__")))]
    if not own:
        return None
    what = _what(error)
    frame, line = frames[own[0]]
    where = f"{frame.f_code.co_qualname} at the server ({PurePath(frame.f_code.co_filename).name}, line {line})"
    stack = "".join(traceback.StackSummary.extract(iter(frames[own[0] :])).format())
    return f"{what}, in {where}", f"Traceback (most recent call last):\n{stack}{what}"
