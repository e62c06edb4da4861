"""A job's process at the server: ``python -m flare_deploy.server.job_process <descriptor> <plan> <lock>``.

It runs the same controller as the simulator. Messages to its daemon:

    job.up       [job id]                  (request) it can receive messages
    job.grew     [job id, rounds]          files of the run have grown; how many rounds were completed
    job.done     [job id, status, error]   (request) the run has ended, and the process is about to exit

Messages from its daemon:

    site.left    [cell, reason]            a site's process is gone; it may come back
    site.removed [site, reason]            a site no longer belongs to the project
    site.ended   [cell, site or nil]       a site's process has exited as intended; the site, if its script returned
    site.failed  [site, message, details]  a site cannot take part any more
    job.abort    [reason]                  end the run now
    job.status   []                        (request) -> {round, rounds, waiting_for, since, present, absent}

Messages from a site:

    site.log     [site, bytes]             an addition to its log
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from flare_core import JobError
from flare_core.job_folder import load_job
from flare_deploy.processes.lock_file import close_in_children
from flare_runtime.endpoint.at_server import ServerHub
from flare_runtime.job_code import importable
from flare_runtime.logs import log_to
from flare_runtime.processes.exit_codes import LOST_SERVER
from flare_runtime.run.controller import RunController
from flare_runtime.run.failure import reason_of
from flare_runtime.run.federation import SitesFederation
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.roster import Roster
from flare_transport import Cell, Message, SocketLink, TransportError
from flare_transport.address import speaks_for

logger = logging.getLogger(__name__)


GATHER_S = 0.1  # between two reports of additions to the run's files


class _JobProcess:
    def __init__(self, plan: dict[str, Any], connection: socket.socket) -> None:
        self._plan = plan
        self._daemon: str = plan["daemon"]
        self._folder = RunFolder(Path(plan["run_folder"]))
        self._cell = Cell(plan["cell"], threads=16)
        self._link = SocketLink(self._daemon, connection)
        self._controller: RunController | None = None
        self._hub = ServerHub(self._cell)  # before sites, whose processes may be quicker, ask for it
        self._lock = threading.Lock()
        self._early: list[Callable[[SitesFederation], None]] = []  # messages that came before the federation existed
        self._growth = threading.Event()
        self._logs: dict[str, BinaryIO] = {}

    def run(self) -> None:
        self._cell.on_peer_lost(self._peer_lost, inline=True)  # in order with "ready"
        for topic, note in (
            ("site.left", SitesFederation.leave),
            ("site.removed", SitesFederation.remove),
            ("site.ended", SitesFederation.site_ended),
            ("site.failed", SitesFederation.fail),
            ("job.abort", SitesFederation.abort),
        ):
            self._cell.handle(topic, self._from_daemon(note))
        self._cell.handle("ready", lambda message: self._tell(lambda fed: fed.take_ready(message)), inline=True)
        self._cell.handle("site.log", self._on_log)
        self._cell.handle("job.status", self._only_daemon(lambda message: self._status()))
        self._cell.attach(self._link, uplink=True)
        self._cell.request(self._daemon, "job.up", [self._plan["job_id"]])
        threading.Thread(target=self._report_growth, name="flare-growth", daemon=True).start()
        status, error = self._run()
        self._cell.request(self._daemon, "job.done", [self._plan["job_id"], status, error])
        self._cell.close()

    def _run(self) -> tuple[str, str]:
        try:
            job = load_job(Path(self._plan["app"]))
            with importable(job.code):
                roster = Roster(
                    {site: site for site in self._plan["sites"]}, can_leave=True, starting=self._plan["starting"]
                )
                controller = RunController(
                    job,
                    self._plan["job_id"],
                    self._folder,
                    roster,
                    self._cell,
                    local=Path(self._plan["local"]),
                    is_durable=True,
                    hub=self._hub,
                )
                controller.prepare()
                controller.log.grew = self._growth.set
                with self._lock:
                    self._controller = controller
                    for note in self._early:
                        note(controller.federation)
                status, error, _ = controller.run(self)
                return status.value, reason_of(error) or ""
        except Exception as error:
            logger.exception("the job cannot be run")
            return "failed", reason_of(error) or ""  # the daemon writes the summary, as soon as there is room for it

    def start(self) -> None:
        """Do nothing: the workflow waits for the sites that it needs."""

    def wait(self) -> None:
        """Wait until the sites' scripts have ended."""
        assert self._controller is not None
        self._controller.federation.wait_ended()

    def stop(self) -> None:
        """Leave it to the daemon to stop the sites.

        If the daemon is gone, the run has ended because of that, and the restarted daemon continues it. So the process
        exits before it could report or record an outcome.
        """
        if self._daemon not in self._cell.peers:
            os._exit(LOST_SERVER)

    def usage(self) -> dict[str, dict[str, float]]:
        """Return nothing, as the sites' processes are on other machines."""
        return {}

    def _from_daemon(self, note: Callable[..., None]) -> Callable[[Message], None]:
        return self._only_daemon(lambda message: self._tell(lambda fed: note(fed, *message.payload)))

    def _only_daemon(self, handler: Callable[[Message], Any]) -> Callable[[Message], Any]:
        """Refuse messages of other senders: sites and administrators can reach this process as well."""

        def checked(message: Message) -> Any:
            if message.sender != self._daemon:
                raise JobError(f"{message.sender} may not send '{message.topic}'")
            return handler(message)

        return checked

    def _tell(self, note: Callable[[SitesFederation], None]) -> None:
        """Pass a message to the federation, now or as soon as it exists."""
        with self._lock:
            if self._controller is None:
                self._early.append(note)
            else:
                note(self._controller.federation)

    def _on_log(self, message: Message) -> None:
        site, content = message.payload
        if site not in self._plan["sites"] or not speaks_for(site, message.sender):
            raise JobError(f"{message.sender} may not write the log of {site!r}")
        if not isinstance(content, bytes):
            raise JobError(f"{message.sender} has sent a {type(content).__name__}, not bytes, for the log of {site}")
        log = self._logs.get(site)
        if log is None:
            path = self._folder.site(site) / "log.txt"
            log = self._logs[site] = path.open("ab", buffering=0)
        try:
            while content:  # an unbuffered write to an almost full disk writes a part and raises no error
                content = content[log.write(content) :]
        except OSError as error:
            logger.warning("log of a site truncated site=%s bytes=%s reason=%s", site, len(content), error)
        self._growth.set()

    def _status(self) -> dict[str, Any]:
        if self._controller is None:
            return {"round": None, "rounds": None, "waiting_for": "the job's code to be loaded", "since": None}
        federation = self._controller.federation
        what, since = federation.waiting_for
        roster = federation.roster
        return {
            "round": federation.round,
            "rounds": federation.total_rounds,
            "waiting_for": what,
            "since": since,
            "present": list(roster.present),
            "absent": {site: absence.reason for site, absence in roster.absent.copy().items()},
        }

    def _report_growth(self) -> None:
        """Write out buffered events, and report to the daemon that the run's files have grown."""
        rounds = 0
        while True:
            self._growth.wait()
            self._growth.clear()
            try:
                if self._controller is not None:
                    self._controller.log.flush()
                    rounds = len(self._controller.progress.rounds)
                self._cell.send(self._daemon, "job.grew", [self._plan["job_id"], rounds])
            except OSError as error:  # a full disk, which the run itself reports
                logger.warning("events not written yet reason=%s", error)
            except TransportError:
                return  # the daemon is gone, and its followers with it
            time.sleep(GATHER_S)  # rounds may be faster than a reader

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        if peer == self._daemon:
            if self._controller is not None:
                self._controller.stop_services("the server's daemon is gone")
            os._exit(LOST_SERVER)
        reason = f"its connection ended ({error})" if error is not None else "its connection ended"
        self._tell(lambda fed: fed.leave_below(peer, reason))


def main(arguments: list[str]) -> None:
    """Run the job of a plan."""
    close_in_children(int(arguments[2]))
    plan = json.loads(Path(arguments[1]).read_text())
    with log_to(Path(plan["run_folder"]) / "log.txt", "INFO"):
        _JobProcess(plan, socket.socket(fileno=int(arguments[0]))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
