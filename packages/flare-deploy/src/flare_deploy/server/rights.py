"""What each role of an administrator may do."""

from __future__ import annotations

from flare_core import FlareError
from flare_deploy.server.store import JobRow, Participant

__all__ = ["RightsError", "check_right", "check_studies"]

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


def check_studies(who: Participant, studies: str, what: str) -> None:
    """Check that an administrator takes part in all of some studies, as it decides on them.

    Args:
        studies: names with commas between them; ``*`` is all.
        what: it is about to do, for the message.
    Raises:
        RightsError: it does not.
    """
    if all(who.is_in(study) for study in studies.split(",")):
        return
    own = "all studies" if "*" in who.studies.split(",") else f"the studies {who.studies}"
    wanted = "all studies" if "*" in studies.split(",") else f"the studies {studies}"
    raise RightsError(f"{who.name} takes part in {own}; {what} concerns {wanted}, and only who is in them may do that")
