"""The server's side of a Flower run: a SuperLink and a ServerApp, and the gate through which everything reaches them.

The SuperLink starts with the job, so that it is there when the sites are; the app's run begins when the workflow says
so, which finds this service by the job's id. Requests of the sites, by their topics:

    flower.time     the server's clock, in seconds since 1970
    flower.wait     the number of a round, counted from 0: waits until Flower has left it; true if the run is over
    flower.trouble  (message) how a ClientApp has failed, and what it printed last
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from flare_core import FlareError, JobContext, Service
from flare_flower.exchange import TOPIC, ServerEnd
from flare_flower.executor import TIME, WAIT
from flare_flower.gate import Gate
from flare_flower.loopback import LoopbackPort, Request, Response, Upstream
from flare_flower.model import MODEL_VARIABLE
from flare_flower.node import described
from flare_flower.processes import FlowerProcesses, ReservedPort
from flare_flower.watch import Counts, Watch

logger = logging.getLogger(__name__)

START_S = 120.0
"""How long a SuperLink may take to listen."""

REPORT_S = 10.0
"""How long a site may take to report what a failed ClientApp has printed, after its reply has come."""

MODEL = "flower_model.safetensors"
LOG = "flower.txt"


class FlowerServer(Service):
    """Runs Flower's programs of the server.

    Args:
        app: the name of the app's folder in the job's code.
        run_config: values that replace some of the app's own.
        stop_after_s: how long the ServerApp may wait for nodes before the run fails.
        imports: the packages that the ServerApp imports.
    """

    _running: ClassVar[dict[str, FlowerServer]] = {}

    def __init__(self, app: str, run_config: Mapping[str, Any], stop_after_s: float, imports: Sequence[str]) -> None:
        self.app = app
        self.run_config = dict(run_config)
        self.stop_after_s = stop_after_s
        self.imports = list(imports)

    @classmethod
    def of(cls, job_id: str) -> FlowerServer:
        """Return the service of a job that runs in this process."""
        return cls._running[job_id]

    def start(self, context: JobContext) -> None:
        self._context = context
        self._running[context.job_id] = self
        self._watch = Watch()
        self._link_port = ReservedPort()
        self._upstream = Upstream(self._link_port.address)
        self._gate = Gate(self._upstream, self._watch)
        self._is_listening = threading.Event()
        self._app_port = LoopbackPort(self._answer_app)
        self._folder = context.folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._home = self._folder / "flower"
        shutil.rmtree(self._home, ignore_errors=True)  # of an attempt that a killed process had made
        (self._folder / MODEL).unlink(missing_ok=True)
        self._processes = FlowerProcesses(
            self._folder,
            self._home,
            self._folder / LOG,
            self._ended,
            {MODEL_VARIABLE: str(self._folder / MODEL)},
        )
        argv = ["flower-superlink", "--insecure", "--isolation", "process", "--disable-runtime-dependency-installation"]
        argv += ["--host", "127.0.0.1", "--port", str(self._link_port.number)]
        self._processes.start("flower-superlink", argv)
        self._processes.load("flwr")
        self._processes.load("flwr-serverapp", self.imports)
        endpoint = context.endpoint
        endpoint.handle(TIME, lambda party, data: time.time())
        endpoint.handle(WAIT, self._wait)
        endpoint.handle("flower.trouble", self._note_trouble)
        endpoint.handle_stream(TOPIC, ServerEnd(self._wait_for_gate).serve)
        threading.Thread(target=self._await_link, name="flare-flower-link", daemon=True).start()
        threading.Thread(target=self._watch_nodes, name="flare-flower-nodes", daemon=True).start()

    def stop(self) -> None:
        self._running.pop(self._context.job_id, None)
        self._watch.end(FlareError("the run was stopped"))
        self._is_listening.set()
        self._processes.stop()
        self._upstream.close()
        self._app_port.close()
        self._link_port.close()

    def _await_link(self) -> None:
        """Wait until the SuperLink listens. It cannot tell, so it is tried."""
        until = time.monotonic() + START_S
        while not self._watch.is_over:
            try:
                socket.create_connection(("127.0.0.1", self._link_port.number), timeout=5).close()
            except OSError:
                if time.monotonic() > until:
                    self._watch.end(FlareError(f"Flower's SuperLink did not start within {START_S:.0f} s"))
                self._context.cancelled.wait(0.05)
            else:
                break
        self._is_listening.set()

    def _wait_for_gate(self) -> Gate | None:
        self._is_listening.wait()
        return None if self._watch.is_over else self._gate

    def _answer_app(self, request: Request) -> Response:
        return self._gate.of_app(request)

    def begin(self, nodes: int) -> None:
        """Start the app's run with Flower's own command, once the SuperLink is there.

        Args:
            nodes: how many nodes are about to connect.
        """
        self._gate.nodes = nodes
        self._is_listening.wait()
        self._home.mkdir(exist_ok=True)
        (self._home / "config.toml").write_text(
            f'[superlink.flare]\naddress = "{self._link_port.address}"\ninsecure = true\n'
        )
        argv = ["flwr", "run", str(self._own_copy()), "flare", "--format", "json"]
        if self.run_config:
            values = self._home / "run_config.toml"
            values.write_text("".join(f"{_key(key)} = {_toml(value)}\n" for key, value in self.run_config.items()))
            argv += ["--run-config", str(values)]
        self._processes.start("flwr run", argv)

    def _own_copy(self) -> Path:
        """Return a copy of the app in which Flower may write."""
        found = next((Path(place) / self.app for place in sys.path if (Path(place) / self.app).is_dir()), None)
        if found is None:
            raise FlareError(f"the job's code has no folder {self.app}")
        copy = self._home / "app"
        shutil.copytree(found, copy, dirs_exist_ok=True)
        return copy

    def _ended(self, name: str, code: int, tail: str) -> None:
        if name == "flwr run":
            if (refusal := _refusal(code, tail)) is None:
                self._processes.acquire(self._app_port.address)
            else:
                self._watch.end(FlareError(f"Flower refuses the app: {refusal}"))
        elif name.startswith("flwr-serverapp"):
            self._watch.end(self._error_of_app(code, tail))
        else:
            error = FlareError(f"Flower's {name} at the server {described(code)}; it printed last:\n{_last(tail)}")
            self._watch.end(error)

    def _error_of_app(self, code: int, tail: str) -> FlareError | None:
        output = self._watch.output
        if code == 0 and output is not None and output[0] == "completed":
            return None
        details = "" if output is None or not output[1] else f": {output[1]}"
        return FlareError(f"the app's ServerApp {described(code)}{details}\n{traceback_in(tail)}".rstrip())

    def _note_trouble(self, party: str, data: Any) -> None:
        what, tail = data
        with self._watch.changing():
            self._watch.troubles.append((party, str(what), str(tail)))

    def _wait(self, party: str, data: Any) -> bool:
        """Wait until Flower has left a round: until its ServerApp says that it has begun the next."""
        self._watch.wait_for(lambda: self._watch.round > int(data) + 1)
        return self._watch.is_over

    def news(self, round_: int) -> dict[str, Any]:
        """Return what was seen of the run, and of one of its rounds."""
        watch, error = self._watch, self._watch.error
        watch.wait_for_reports(round_ + 1, REPORT_S)
        with watch.changing():
            seen = watch.rounds[round_ + 1]
            return {
                "total": watch.total_rounds,
                "over": watch.is_over,
                "error": None if error is None else str(error),
                "nodes": dict(watch.nodes),
                "sent": dict(seen.sent),
                "replies": [[each.site, each.kind, each.error] for each in seen.replies],
                "by_site": {site: dict(values) for site, values in seen.by_site.items()},
                "overall": dict(seen.overall),
                "array_bytes": dict(seen.array_bytes),
                "troubles": [list(each) for each in watch.troubles],
                "model": str(self._folder / MODEL) if (self._folder / MODEL).is_file() else None,
            }

    def _watch_nodes(self) -> None:
        """Say how many nodes there are while the ServerApp waits for some; fail the run if it waits too long."""
        told: Counts | None = None
        while self._watch.wait_for(partial(self._watch.waits_for_others, told)):
            told = self._watch.waiting
            if told is None:  # the nodes have come in between
                continue
            self._context.warn(
                f"the app waits for {told.needed} nodes, {told.connected} of {told.needed} are connected; the run fails"
                f" after {self.stop_after_s:g} s"
            )
            left = max(0.0, told.since + self.stop_after_s - time.monotonic())
            if not self._watch.wait_for(partial(self._watch.waits_otherwise, told), left):
                self._watch.end(self._too_few(told))

    def _too_few(self, counts: Counts) -> FlareError:
        return FlareError(
            f"the app waits for {counts.needed} nodes and {counts.connected} of {counts.needed} are connected, for"
            f" {self.stop_after_s:g} s now; start more sites, have the app need fewer (min_available_nodes of its"
            " strategy), or allow more time with stop_after_s"
        )


def _key(name: str) -> str:
    return json.dumps(name) if "." not in name else ".".join(json.dumps(part) for part in name.split("."))


def _toml(value: Any) -> str:
    return json.dumps(value)  # TOML writes numbers, booleans and text as JSON does


def _refusal(code: int, tail: str) -> str | None:
    """Return the error that Flower's command line has printed; None if it has started the run."""
    try:
        said = json.loads(tail[tail.index("{") :])
    except ValueError:
        return _last(tail) or described(code)
    if said.get("success") is True:
        return None
    told = str(said.get("error-message", tail)).strip()
    return re.split(r"^Using SuperLink: .*$", told, flags=re.MULTILINE)[-1].strip() or told  # notices come before


def _last(tail: str, lines: int = 15) -> str:
    return "\n".join(tail.strip().splitlines()[-lines:])


def traceback_in(tail: str) -> str:
    """Return the last traceback in the output of an app, or its last lines."""
    start = tail.rfind("Traceback (most recent call last)")
    return tail[start:].strip() if start >= 0 else _last(tail)
