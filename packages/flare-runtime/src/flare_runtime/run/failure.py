"""What ended a run, for people: the kind of error, and the place in the job's own code where it was raised."""

from __future__ import annotations

import sys
import traceback
from pathlib import PurePath

from flare_core import FlareError

__all__ = ["reason_of"]


def reason_of(error: BaseException | None) -> str | None:
    """Say what ended a run; None if nothing did.

    Errors of Flare's say it themselves. Of others, which code of the job's has raised at the server, such as an
    aggregator or an observer, the first line says what and where; the rest is the traceback from there on.
    """
    if error is None:
        return None
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted with Ctrl-C"
    if isinstance(error, FlareError):
        cause = error.__cause__
        told = _told(cause) if cause is not None and not isinstance(cause, FlareError) else None
        return (str(error) or type(error).__name__) + (f"\n{told.partition(chr(10))[2]}" if told else "")
    return _told(error) or _what(error)


def _what(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _is_of_job(module: str) -> bool:
    """Whether a module is neither Flare's nor Python's, such as that which finds the disk full."""
    return not module.startswith("flare_") and module.partition(".")[0] not in sys.stdlib_module_names


def _told(error: BaseException) -> str | None:
    """What the job's own code has raised, where, and the traceback; None if it was not that."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [index for index, (frame, _) in enumerate(frames) if _is_of_job(str(frame.f_globals.get("__name__")))]
    if not own:
        return None
    what = _what(error)
    frame, line = frames[own[0]]
    where = f"{frame.f_code.co_qualname} at the server ({PurePath(frame.f_code.co_filename).name}, line {line})"
    stack = "".join(traceback.StackSummary.extract(iter(frames[own[0] :])).format())
    return f"{what}, in {where}\nTraceback (most recent call last):\n{stack}{what}"
