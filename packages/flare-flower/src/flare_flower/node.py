"""A site's SuperNode: its process, those of its ClientApps, and the port through which it reaches the server."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from flare_core import FlareError, PartyError, SiteContext
from flare_core.client.session import CHANNEL_VARIABLE
from flare_flower.channel import LOG_PATH, SETTINGS_VARIABLE
from flare_flower.exchange import SiteEnd
from flare_flower.loopback import LoopbackPort, Request, Response
from flare_flower.processes import FlowerProcesses, ReservedPort

logger = logging.getLogger(__name__)

MOST_RESTARTS = 5
"""How often a SuperNode may end by itself, or be killed, before the site gives up."""


class SiteNode:
    """Runs one SuperNode until it is stopped or the run is over.

    Args:
        context: the site.
        node_config: the values of ``context.node_config`` in its ClientApps.
        packages: what its ClientApps import.
    """

    def __init__(self, context: SiteContext, node_config: Mapping[str, Any], packages: Sequence[str]) -> None:
        self._context = context
        self._node_config = dict(node_config)
        self._packages = list(packages)
        self._end = SiteEnd(context.endpoint, context.cancelled)
        self._port = LoopbackPort(self._answer)
        self._is_stopped = threading.Event()
        self._starting = threading.Lock()
        self._restarts = -1
        self._runtime = ReservedPort()
        self._processes: FlowerProcesses | None = None
        self._start()
        threading.Thread(target=self._stop_at_end, name="flare-flower-end", daemon=True).start()

    def stop(self) -> None:
        """Kill the node's processes; return when they have ended."""
        with self._starting:
            self._is_stopped.set()
            if self._processes is not None:
                self._processes.stop()

    def _stop_at_end(self) -> None:
        self._context.cancelled.wait()
        self.stop()

    def _start(self) -> None:
        """Start the host and the SuperNode, anew if there were any."""
        with self._starting:
            if self._is_stopped.is_set():
                return
            self._restarts += 1
            if self._restarts > MOST_RESTARTS:
                error = FlareError(
                    f"Flower's SuperNode has ended {self._restarts} times; the site's log has what it printed last"
                )
                threading.Thread(target=self._context.fail, args=(error,), daemon=True).start()
                return
            if self._processes is not None:
                self._processes.stop()
            self._runtime.close()
            self._runtime = ReservedPort()
            folder = self._context.folder
            self._processes = FlowerProcesses(
                folder, folder / "flower", folder / "log.txt", self._ended, self._environment()
            )
            argv = ["flower-supernode", "--insecure", "--superlink", self._port.address, "--isolation", "process"]
            argv += ["--host", "127.0.0.1", "--port", str(self._runtime.number)]
            if self._node_config:
                argv += ["--node-config", " ".join(f"{key}={_toml(each)}" for key, each in self._node_config.items())]
            self._processes.start("flower-supernode", argv)
            self._processes.load("flwr-clientapp", self._packages)

    def _environment(self) -> dict[str, str]:
        settings = {
            "address": self._port.address,
            "site": self._context.party,
            "job_id": self._context.job_id,
            "config": dict(self._context.config),
        }
        return {CHANNEL_VARIABLE: "flare_flower.channel:connect", SETTINGS_VARIABLE: json.dumps(settings)}

    def _answer(self, request: Request) -> Response:
        if request.path == LOG_PATH:
            key, value, kind, step = json.loads(request.body)
            self._context.log(key, value, kind=kind, step=step)
            return Response(200)
        response = self._end.answer(request)
        if request.path.endswith("/confirm-message-received") and self._processes is not None:
            self._processes.acquire(self._runtime.address)  # all of a message is there, so there is a task
        return response

    def _ended(self, name: str, code: int, tail: str) -> None:
        if name.startswith("flwr-clientapp"):
            if code != 0 or "Traceback (most recent call last)" in tail:  # it may end well after its error was sent
                self._report(f"a ClientApp {described(code)}", tail)
            return
        logger.warning("Flower process ended site=%s name=%s code=%s", self._context.party, name, code)
        self._context.warn(f"Flower's {name} at {self._context.party} {described(code)}; it is started again")
        self._start()

    def _report(self, what: str, tail: str) -> None:
        """Tell the server how a ClientApp failed; Flower itself only passes on the text of the exception."""
        try:
            self._context.endpoint.send("server", "flower.trouble", [what, tail])
        except PartyError as error:
            logger.warning("failure of a ClientApp not reported reason=%s", error)


def described(code: int) -> str:
    """Return how a process ended, for a sentence."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _toml(value: Any) -> str:
    return json.dumps(value)  # the same for the numbers, booleans and text of a node's settings
