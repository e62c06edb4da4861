"""What each role of an administrator may do."""

from __future__ import annotations

from flare_core import FlareError
from flare_runtime.server.store import JobRow, Participant

__all__ = ["RightsError", "check_right"]

_RIGHTS = {
    "project_admin": {"view", "submit", "manage", "download", "members"},
    "org_admin": {"view", "manage own"},
    "lead": {"view", "submit", "manage own", "download own"},
    "member": {"view"},
}


class RightsError(FlareError):
    """An administrator's role does not allow this."""


def check_right(who: Participant, right: str, job: JobRow | None = None) -> None:
    """Check that an administrator may do something.

    Args:
        right: ``view``, ``submit``, ``manage`` (abort, delete), ``download`` or ``members`` (invite, remove).
        job: with which job; before it is known, who may with some passes.
    Raises:
        RightsError: it may not; names the role.
    """
    rights = _RIGHTS.get(who.role, set())
    if right in rights:
        return
    if f"{right} own" in rights and (job is None or job.submitter == who.name):
        return
    whose = f", and the job is {job.submitter}'s" if job is not None and f"{right} own" in rights else ""
    raise RightsError(f"{who.name} has the role '{who.role}', which does not allow '{right}'{whose}")
