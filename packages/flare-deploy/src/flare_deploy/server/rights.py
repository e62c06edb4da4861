"""The rights of each administrator role."""

from __future__ import annotations

from flare_core import FlareError
from flare_deploy.server.store import JobRow, Participant

_RIGHTS = {
    "project_admin": {"view", "submit", "manage", "download", "members"},
    "org_admin": {"view", "manage own"},
    "lead": {"view", "submit", "manage own", "download own"},
    "member": {"view"},
}


class RightsError(FlareError):
    """An administrator's role or studies do not allow a request."""


def check_right(admin: Participant, right: str, job: JobRow | None = None) -> None:
    """Check that an administrator has a right.

    Args:
        right: ``view``, ``submit``, ``manage`` (abort, delete), ``download`` or ``members`` (invite, remove).
        job: the job concerned. As long as it is unknown, a right over own jobs is enough.
    Raises:
        RightsError: it has not; names the role.
    """
    rights = _RIGHTS.get(admin.role, set())
    if right in rights:
        return
    if f"{right} own" in rights and (job is None or job.submitter == admin.name):
        return
    whose = f", and the job is {job.submitter}'s" if job is not None and f"{right} own" in rights else ""
    raise RightsError(f"{admin.name} has the role '{admin.role}', which does not allow '{right}'{whose}")


def check_studies(admin: Participant, studies: str, what: str) -> None:
    """Check that an administrator takes part in all studies that a request concerns.

    Args:
        studies: comma-separated names; ``*`` stands for all.
        what: the subject of the request, for the message.
    Raises:
        RightsError: it does not take part in one of them.
    """
    if all(admin.is_in(study) for study in studies.split(",")):
        return
    own = "all studies" if "*" in admin.studies.split(",") else f"the studies {admin.studies}"
    wanted = "all studies" if "*" in studies.split(",") else f"the studies {studies}"
    raise RightsError(f"{admin.name} takes part in {own}, but {what} concerns {wanted}; ask an administrator of those")
