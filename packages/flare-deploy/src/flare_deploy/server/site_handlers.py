"""SiteHandlers: answer the messages of sites and of jobs' processes.

enroll        [request]                      from an invited participant: certify this key
site.hello    [version, resources]           (request) from a site that has connected -> {project, running: job ids}
site.exited   [job, cell, code, details]     from a site: a job's process there has ended
site.refused  [job, cell, reason]            from a site: it cannot run a job
site.renew    [request]                      from any participant: certify a new key
job.up, job.grew, job.done                   from a job's process, see job_process.py
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flare_core import FlareError, JobError, RunStatus
from flare_deploy.participants import takes_jobs
from flare_deploy.server.running import RunningJob
from flare_deploy.server.scheduler import Capacity
from flare_transport import Message
from flare_transport.address import speaks_for

if TYPE_CHECKING:
    from flare_deploy.server.daemon import ServerDaemon

logger = logging.getLogger(__name__)


class SiteHandlers:
    """The handlers of messages from sites and jobs' processes; each checks that the sender speaks only for itself."""

    def __init__(self, daemon: ServerDaemon) -> None:
        self._daemon = daemon
        for topic, handler in (
            ("enroll", self._enroll),
            ("site.hello", self._hello),
            ("site.exited", self._exited),
            ("site.refused", self._refused),
            ("site.renew", self._renew),
            ("job.up", self._job_up),
            ("job.grew", self._job_grew),
            ("job.done", self._job_done),
        ):
            daemon.cell.handle(topic, handler)

    def _enroll(self, message: Message) -> dict[str, Any]:
        (request,) = message.payload
        kit = self._daemon.members.enroll(message.sender, request)
        self._daemon.store.record(message.sender, "enroll", kit["info"]["name"])
        return kit

    def _renew(self, message: Message) -> dict[str, Any]:
        (request,) = message.payload
        member = self._daemon.members.owner_of(message.sender)
        self._daemon.store.record(member.name, "renew", member.name)
        return self._daemon.members.renew(member.name, request)

    def _hello(self, message: Message) -> dict[str, Any]:
        _version, resources = message.payload
        site = self._site(message)
        with self._daemon.lock:
            self._daemon.handle_losses()  # else that of its former connection could be taken for this one's
            self._daemon.connected[site] = Capacity.of(resources)
            logger.info("site connected site=%s", site)
            for job in self._daemon.running.values():
                job.site_left(site, "its client was restarted")
                if self._daemon.reserve(job, site):
                    job.deploy(site)
            self._daemon.schedule()
            self._daemon.changed.notify_all()
            running = list(self._daemon.running)
        return {"project": self._daemon.kit.info.project, "running": running}

    def _exited(self, message: Message) -> None:
        job_id, host, code, details = message.payload
        site = self._site(message)
        if speaks_for(site, host):
            self._daemon.disconnect(host)  # it will not come back, so its connection need not wait out its grace time
        with self._daemon.lock:
            job = self._daemon.running.get(job_id)
            if job is not None and job.site_exited(site, host, code, details) and site in self._daemon.connected:
                job.deploy(site)

    def _refused(self, message: Message) -> None:
        job_id, host, reason = message.payload
        site = self._site(message)
        with self._daemon.lock:
            job = self._daemon.running.get(job_id)
            if job is not None:
                job.site_refused(site, host, reason)

    def _job_up(self, message: Message) -> None:
        job = self._job(message)
        with self._daemon.lock:
            job.process_is_up([site for site in job.gpus if site in self._daemon.connected])
            self._daemon.changed.notify_all()

    def _job_grew(self, message: Message) -> None:
        job = self._job(message)
        with self._daemon.lock:
            job.rounds_completed(message.payload[1])
        self._daemon.followers.wake(job.row.id)

    def _job_done(self, message: Message) -> None:
        job = self._job(message)
        _, status, error = message.payload
        with self._daemon.lock:
            job.done(RunStatus(status), error)

    def _job(self, message: Message) -> RunningJob:
        """Return the job whose current process has sent a message."""
        job = self._daemon.running.get(message.payload[0])
        if job is None or message.sender != job.cell_name:
            raise JobError(f"{message.sender} is not the process of a running job")
        return job

    def _site(self, message: Message) -> str:
        """Return the site that has sent a message."""
        member = self._daemon.members.active_owner_of(message.sender)
        if not takes_jobs(member.kind) or member.name != message.sender:
            raise FlareError(f"{message.sender} is not a site and may not send '{message.topic}'")
        return member.name
