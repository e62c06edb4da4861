"""Errors and results of sessions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from flare_core import FlareError


class NoConnection(FlareError):
    """The server cannot be reached."""


class SessionClosed(FlareError):
    """The session was closed."""


class InvalidArgumentError(FlareError):
    """An argument is unusable."""


class InvalidJobDefinition(FlareError):
    """A folder is no job that can run."""


class JobNotFound(FlareError):
    """There is no job of this id."""


class JobNotDone(FlareError):
    """The job has not ended."""


class JobTimeout(FlareError):
    """The job has not ended in time."""


class InternalError(FlareError):
    """The server has refused a command."""


class AuthenticationError(FlareError):
    """The administrator could not prove who it is."""


class AuthorizationError(FlareError):
    """The administrator may not do this."""


class ClientsStillRunning(FlareError):
    """Sites are still there."""


class InvalidTarget(FlareError):
    """There is no such party."""


class TargetType:
    """Kinds of parties."""

    ALL = "all"
    SERVER = "server"
    CLIENT = "client"


class MonitorReturnCode(IntEnum):
    """Why the monitoring of a job has ended."""

    JOB_FINISHED = 0
    TIMEOUT = 1
    ENDED_BY_CB = 2


@dataclass
class ServerInfo:
    """The server."""

    status: str
    start_time: float | None = None


@dataclass
class ClientInfo:
    """A site."""

    name: str
    last_connect_time: float | None = None
    client_last_conn_time: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.client_last_conn_time = self.last_connect_time


@dataclass
class JobInfo:
    """A job that runs."""

    job_id: str
    app_name: str


@dataclass
class SystemInfo:
    """The server, its sites and the jobs that run."""

    server_info: ServerInfo
    client_info: list[ClientInfo]
    job_info: list[JobInfo]

    def __str__(self) -> str:
        names = ", ".join(each.name for each in self.client_info) or "none"
        jobs = ", ".join(each.job_id for each in self.job_info) or "none"
        return f"server: {self.server_info.status}\nsites: {names}\njobs: {jobs}"


Meta = dict[str, Any]
