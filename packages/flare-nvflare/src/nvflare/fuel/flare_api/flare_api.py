"""Sessions of administrators, with the functions of :class:`flare_deploy.Admin`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_core import FlareError, JobError, RunStatus
from flare_core.job_folder import load_job
from nvflare._flare.app_folders import find_job
from nvflare._flare.layout import Outputs, lay_out_download, outputs_of
from nvflare._flare.names import check_import, not_provided
from nvflare.apis.job_def import JobMetaKey
from nvflare.fuel.flare_api.api_spec import (
    ClientInfo,
    InternalError,
    InvalidJobDefinition,
    JobInfo,
    JobNotFound,
    MonitorReturnCode,
    NoConnection,
    ServerInfo,
    SessionClosed,
    SystemInfo,
    TargetType,
)
from nvflare.fuel.flare_api.session_events import SessionEvents
from nvflare.fuel.hci.client.event import EventPropKey, EventType

DEFAULT_STUDY = "default"

_MISSING = {
    "ls_target": "see the folder of the party",
    "cat_target": "see 'flare job logs', or download the result",
    "tail_target": "see 'flare job logs'",
    "head_target": "see 'flare job logs'",
    "grep_target": "see 'flare job logs'",
    "get_working_directory": "see the folder of the party",
    "shutdown": "stop the processes at the parties: 'flare down' and 'flare stop'",
    "shutdown_system": "stop the processes at the parties: 'flare down' and 'flare stop'",
    "restart": "restart the processes at the parties; jobs that run go on",
    "do_app_command": "a workflow that takes commands is a service: see docs/extending.md",
    "configure_job_log": "give log_config to the environment",
    "configure_site_log": "give log_config to the environment",
    "show_stats": "see 'flare status' and summary.json of the run",
    "reset_errors": "errors belong to their run",
}


class Session:
    """An administrator's session. Flare's own is :class:`flare_deploy.Admin`.

    Args:
        username: ignored: the kit says who the administrator is.
        startup_path: the administrator's kit.
        secure_mode: ignored: all connections are secure.
        debug: ignored.
        study: the study of the jobs.
    """

    def __init__(
        self,
        username: str,
        startup_path: str,
        secure_mode: bool = True,
        debug: bool = False,
        study: str = DEFAULT_STUDY,
    ) -> None:
        check_import("flare-deploy", "flare_deploy", "nvflare.fuel.flare_api")
        self.username = username
        self.startup_path = startup_path
        self.study = study
        self._admin: Any = None
        self._closed = False
        self._events = SessionEvents(self, startup_path, username)

    def __getattr__(self, name: str) -> Any:
        if name in _MISSING:
            raise not_provided(f"Session.{name}()", _MISSING[name])
        raise AttributeError(f"a Session has no attribute {name!r}")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def try_connect(self, timeout: float) -> None:
        """Connect to the server.

        Raises:
            NoConnection: the kit cannot be used, or the server does not answer within ``timeout`` seconds.
        """
        from flare_deploy import Admin

        self._events.fire(EventType.BEFORE_LOGIN)
        try:
            self._admin = Admin.connect(self.startup_path, timeout_s=timeout)
        except FlareError as error:
            self._events.fire(EventType.LOGIN_FAILURE, **{EventPropKey.MSG: str(error)})
            raise NoConnection(str(error)) from error
        self._events.fire(EventType.LOGIN_SUCCESS)

    def close(self) -> None:
        """End the session."""
        self._closed = True
        if self._admin is not None:
            self._admin.close()

    def submit_job(self, job_definition_path: str, submit_token: str | None = None) -> str:
        """Submit a job folder, and return the job's id.

        Raises:
            InvalidJobDefinition: it is none, or the server refuses it; says why.
        """
        from nvflare._host.jobs import load_any_job

        with self._open(InvalidJobDefinition) as admin:
            props = self._before("submit_job")
            try:
                job = load_any_job(job_definition_path, {JobMetaKey.CUSTOM_PROPS: props} if props else {})
            except JobError as error:
                raise InvalidJobDefinition(str(error)) from error
            return str(admin.submit(job, study=self.study)["id"])

    def clone_job(self, job_id: str) -> str:
        """Submit the same job again, and return the new id."""
        with self._open(JobNotFound) as admin:
            self._before("clone_job")
            return str(admin.clone(job_id)["id"])

    def abort_job(self, job_id: str) -> None:
        """Abort a job."""
        with self._open(JobNotFound) as admin:
            self._before("abort_job")
            admin.abort(job_id)

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended."""
        with self._open(JobNotFound) as admin:
            self._before("delete_job")
            admin.delete(job_id)

    def get_job_meta(self, job_id: str) -> dict[str, Any]:
        """Return what is known of a job."""
        with self._open(JobNotFound) as admin:
            self._before("get_job_meta")
            return _meta(admin.job(job_id))

    def get_job_status(self, job_id: str) -> str:
        """Return the status of a job."""
        return str(self.get_job_meta(job_id)["status"])

    def list_jobs(
        self,
        detailed: bool = False,
        limit: int | None = None,
        id_prefix: str | None = None,
        name_prefix: str | None = None,
        reverse: bool = False,
        submit_token: str | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """Return the jobs, newest first.

        Args:
            detailed: ignored: all is told.
            limit: how many at most.
            id_prefix, name_prefix: only jobs whose id or name begins so.
            reverse: oldest first.
            submit_token, kwargs: ignored.
        """
        with self._open(InternalError) as admin:
            self._before("list_jobs")
            found = [_meta(each) for each in admin.jobs()]
        found = [
            each
            for each in found
            if each["job_id"].startswith(id_prefix or "") and each["job_name"].startswith(name_prefix or "")
        ]
        found = found if reverse else found[::-1]
        return found if limit is None else found[:limit]

    def download_job_result(self, job_id: str, destination: str | None = None) -> str:
        """Download the result of a job that has ended, and return its folder, with folders ``job`` and ``workspace``.

        Logs and models have the same places as in results of NVIDIA FLARE, also of a job that has failed.
        """
        target = Path(destination or Path(self.startup_path) / "transfer") / job_id
        with self._open(JobNotFound) as admin:
            self._before("download_job")
            name = str(admin.job(job_id)["name"])
            admin.download(job_id, target)
            admin.download_job(job_id, target / "job" / name)
        if not (target / "workspace").exists():
            job = find_job(target)
            lay_out_download(None, target, Outputs() if job is None else outputs_of(load_job(job)), job)
        return str(target)

    def get_job_logs(self, job_id: str, target: str = "server", tail_lines: int | None = None, **kwargs: Any) -> str:
        """Return the log of a job at the server or a site."""
        with self._open(JobNotFound) as admin:
            self._before("get_job_log")
            text = "".join(admin.logs(job_id, None if target == "server" else target))
        return text if tail_lines is None else "\n".join(text.splitlines()[-tail_lines:])

    def monitor_job(
        self,
        job_id: str,
        timeout: float = 0.0,
        poll_interval: float = 2.0,
        cb: Callable[..., bool] | None = None,
        *cb_args: Any,
        **cb_kwargs: Any,
    ) -> MonitorReturnCode:
        """Wait until a job has ended.

        Args:
            job_id: the job.
            timeout: seconds after which to return; 0 for no limit.
            poll_interval: ignored: changes are told.
            cb: called with the session, the job's id and what is known of it when that changes; returns False to end.
            cb_args, cb_kwargs: given to it.
        """
        return self.monitor_job_and_return_job_meta(job_id, timeout, poll_interval, cb, *cb_args, **cb_kwargs)[0]

    def monitor_job_and_return_job_meta(
        self,
        job_id: str,
        timeout: float = 0.0,
        poll_interval: float = 2.0,
        cb: Callable[..., bool] | None = None,
        *cb_args: Any,
        **cb_kwargs: Any,
    ) -> tuple[MonitorReturnCode, dict[str, Any]]:
        """As :meth:`monitor_job`, and return what is known of the job."""
        meta: dict[str, Any] = {}
        with self._open(JobNotFound) as admin:
            try:
                for each in admin.changes(job_id, timeout or None):
                    meta = _meta(each)
                    if cb is not None and not cb(self, job_id, meta, *cb_args, **cb_kwargs):
                        return MonitorReturnCode.ENDED_BY_CB, meta
            except TimeoutError:
                return MonitorReturnCode.TIMEOUT, meta
        return MonitorReturnCode.JOB_FINISHED, meta

    def wait_for_job(self, job_id: str, timeout: float = 0.0, poll_interval: float = 2.0) -> dict[str, Any]:
        """Wait until a job has ended, and return what is known of it."""
        return self.monitor_job_and_return_job_meta(job_id, timeout)[1]

    def get_system_info(self) -> SystemInfo:
        """Return the server, its sites and the jobs that run."""
        with self._open(InternalError) as admin:
            self._before("check_status")
            status = admin.status()
        sites = status.get("sites") or {}
        names = sites if isinstance(sites, list) else [{"name": name} for name in sites]
        clients = [ClientInfo(str(each["name"] if isinstance(each, dict) else each), time.time()) for each in names]
        jobs = [JobInfo(str(each["id"]), str(each["name"])) for each in status.get("jobs") or []]
        return SystemInfo(ServerInfo("started" if jobs else "stopped"), clients, jobs)

    def get_connected_client_list(self) -> list[ClientInfo]:
        """Return the sites."""
        return self.get_system_info().client_info

    def check_status(self, target_type: str = TargetType.ALL, targets: Any = None) -> dict[str, Any]:
        """Return what Flare tells about the server, its sites and the jobs that run."""
        with self._open(InternalError) as admin:
            self._before("check_status")
            status: dict[str, Any] = admin.status()
        return status

    def remove_client(self, client_name: str) -> None:
        """Remove a site from the project."""
        with self._open(InternalError) as admin:
            self._before("remove_client")
            admin.remove(client_name)

    def set_timeout(self, value: float) -> None:
        """Do nothing: commands wait as long as the server is there."""

    def unset_timeout(self) -> None:
        """Do nothing: commands wait as long as the server is there."""

    def get_available_apps_to_upload(self) -> list[str]:
        """Return the job folders in the kit's folder ``transfer``."""
        folder = Path(self.startup_path) / "transfer"
        return sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []

    def _before(self, command: str) -> dict[str, Any]:
        """Tell the handlers of a command, and return the properties that are to travel with it."""
        return self._events.fire(EventType.BEFORE_EXECUTE_CMD, **{EventPropKey.CMD_NAME: command})

    @contextmanager
    def _open(self, kind: type[FlareError]) -> Iterator[Any]:
        if self._closed or self._admin is None:
            raise SessionClosed("the session is closed; open another one with new_secure_session(...)")
        try:
            yield self._admin
        except FlareError as error:
            if type(error).__module__.startswith("nvflare"):
                raise
            raise kind(str(error)) from error


def basic_cb_with_print(
    session: Session, job_id: str, job_meta: dict[str, Any], *cb_args: Any, **cb_kwargs: Any
) -> bool:
    """Print what is known of a job; a callback for :meth:`Session.monitor_job`."""
    print(json.dumps(job_meta, default=str))  # noqa: T201 (it is what this is for)
    return True


def new_session(
    username: str,
    startup_kit_location: str,
    secure_mode: bool = True,
    debug: bool = False,
    timeout: float = 10.0,
    study: str = DEFAULT_STUDY,
    command_timeout: float | None = None,
    auto_login_max_tries: int | None = None,
) -> Session:
    """Open a session.

    Args:
        username: the administrator.
        startup_kit_location: its kit.
        secure_mode, debug, command_timeout, auto_login_max_tries: ignored.
        timeout: seconds to wait for the server.
        study: the study of the jobs.
    Raises:
        NoConnection: the server does not answer, or the kit cannot be used.
    """
    session = Session(username, startup_kit_location, secure_mode, debug, study)
    session.try_connect(timeout)
    return session


def new_secure_session(
    username: str,
    startup_kit_location: str,
    debug: bool = False,
    timeout: float = 10.0,
    study: str = DEFAULT_STUDY,
    command_timeout: float | None = None,
    auto_login_max_tries: int | None = None,
) -> Session:
    """Open a session; arguments as for :func:`new_session`."""
    return new_session(username, startup_kit_location, True, debug, timeout, study)


def new_insecure_session(
    startup_kit_location: str, debug: bool = False, timeout: float = 10.0, study: str = DEFAULT_STUDY
) -> Session:
    """Open a session, which is secure all the same; arguments as for :func:`new_session`."""
    return new_session("", startup_kit_location, False, debug, timeout, study)


def _meta(job: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a job, with the names of NVIDIA FLARE."""
    from nvflare._flare.deployed import STATES

    return {
        **job,
        "job_id": job["id"],
        "job_name": job["name"],
        "status": STATES[RunStatus(job["state"])],
        "submit_time": job.get("submitted"),
        "submitter_name": job.get("submitter"),
    }


__all__ = [
    "MonitorReturnCode",
    "Session",
    "basic_cb_with_print",
    "new_insecure_session",
    "new_secure_session",
    "new_session",
]
