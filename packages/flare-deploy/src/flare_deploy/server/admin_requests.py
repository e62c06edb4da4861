"""The requests of administrators: what each is, the right that it needs, and the types of its values.

The topic of a request is ``admin.`` and its name; its payload is a list:

submit    [archive, sha256, {study, priority}]  -> a job
jobs      [{study, limit, after}]               -> a page of jobs, oldest first
job       [job]                                 -> a job, with what it is waiting for while it runs
wait      [job, state, reason]                  -> a job, as soon as its state or reason is another
abort     [job]
delete    [job]
clone     [job]                                 -> a job
files     [job]                                 -> [[name, reference], …] of the run's folder
job_files [job]                                 -> the same of the folder that was submitted
read      [job, name, offset]                   -> bytes
follow    [job, name, position, number]         opens the stream "follow" to the sender; see followers.py
status    []                                    -> the server, its sites and jobs
members   []                                    -> participants
invite    [name, {kind, role, org, studies, days, address}] -> a token
remove    [name]
audit     [count]                               -> the last entries of the audit log
"""

from __future__ import annotations

from typing import Any

from flare_deploy.server.members import MembersError

REQUESTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "submit": ("submit", (str, str, dict)),
    "jobs": ("view", (dict,)),
    "job": ("view", (str,)),
    "wait": ("view", (str, str, str)),
    "abort": ("manage", (str,)),
    "delete": ("manage", (str,)),
    "clone": ("submit", (str,)),
    "files": ("download", (str,)),
    "job_files": ("download", (str,)),
    "read": ("view", (str, str, int)),
    "follow": ("view", (str, str, int, int)),
    "status": ("view", ()),
    "members": ("view", ()),
    "invite": ("members", (str, dict)),
    "remove": ("members", (str,)),
    "audit": ("members", (int,)),
}
"""The right that each request needs, see :mod:`flare_deploy.server.rights`, and the types of its values."""

AUDITED = ("submit", "abort", "delete", "clone", "files", "job_files", "invite", "remove")
"""Requests that are recorded in the audit log; of the others, only those that a role does not allow are."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "submit": {"study": str | None, "priority": int | None},
    "jobs": {"study": str | None, "limit": int, "after": str | None},
    "invite": {"kind": str, "role": str, "org": str, "studies": str, "days": int, "address": str},
}
_MAX_OPTION_CHARACTERS = 100  # the width of a database column
_MAX_OPTION_NUMBER = 1_000_000


def check_request(name: str, payload: Any) -> list[Any]:
    """Return the values of a request.

    Raises:
        MembersError: they are not the ones described above.
    """
    _, types = REQUESTS[name]
    if not isinstance(payload, list | tuple) or len(payload) != len(types) or not all(map(isinstance, payload, types)):
        raise MembersError(f"'admin.{name}' takes {len(types)} values of other types; is your version of flare older?")
    known = _OPTIONS.get(name)
    if known is not None:
        for key, value in payload[-1].items():
            if key not in known or not isinstance(value, known[key]):
                raise MembersError(f"'admin.{name}': the option {str(key)[:40]!r} is unknown or of another type")
            if isinstance(value, str) and len(value) > _MAX_OPTION_CHARACTERS:
                raise MembersError(f"'admin.{name}': {key} has more than {_MAX_OPTION_CHARACTERS} characters")
            if isinstance(value, int) and abs(value) > _MAX_OPTION_NUMBER:
                raise MembersError(f"'admin.{name}': {key} is greater than {_MAX_OPTION_NUMBER}")
    return list(payload)
