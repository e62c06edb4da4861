from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import tempfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from flare_core import ClientApp, CodeBundle, Component, ExecutorEntry, Job, ServerApp
from flare_runtime.admin import Admin
from flare_runtime.daemon import start_daemon
from flare_runtime.poc import Poc
from flare_tensor_downloader import write_file

NOISE = """
    import os
    import socket
    import sys

    import numpy as np

    import flare_core.client as flare

    flare.init()
    gate, gated_round = sys.argv[1], int(sys.argv[2])
    while flare.is_running():
        model = flare.receive()
        if model.current_round == gated_round:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(gate)
                connection.sendall(f"{flare.get_site_name()} {os.getpid()}".encode())
                connection.recv(1)
        params = {key: value + np.random.normal(size=value.shape) for key, value in model.params.items()}
        print("trained in round", model.current_round)
        flare.send(flare.FLModel(params=params, metrics={"accuracy": float(np.random.random())}))
"""
"""Adds noise from the global generator; in one round it asks the gate before it does."""


class Gate:
    """Where scripts of one round wait until the test lets them through.

    Args:
        path: of the socket.
        decide: told the site, its process and how often it has asked, on a thread of its own; the script goes on when
            this returns.
    """

    def __init__(self, path: Path, decide: Callable[[str, int, int], None]) -> None:
        self.path = path
        self._decide = decide
        self._asked: dict[str, int] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            site, pid = connection.recv(200).decode().split()
            self._asked[site] = self._asked.get(site, 0) + 1
            self._decide(site, int(pid), self._asked[site])
            try:
                connection.sendall(b"x")
            except OSError:
                return  # its process was killed

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink()


class Hospital:
    """A federation of real processes, with jobs for it; in a folder with a short name, for the sake of sockets."""

    def __init__(self, sites: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flare-t-"))
        self.poc = Poc(self.folder / "poc")
        self.poc.prepare([f"site-{number}" for number in range(1, sites + 1)])
        self.gates: list[Gate] = []

    def start(self) -> None:
        self.poc.start(leashed=True)

    def admin(self) -> Admin:
        return Admin.connect(self.poc.admin)

    def gate(self, decide: Callable[[str, int, int], None]) -> Gate:
        gate = Gate(self.folder / f"gate-{len(self.gates)}", decide)
        self.gates.append(gate)
        return gate

    def job(
        self,
        script: str = NOISE,
        args: list[str] | None = None,
        *,
        rounds: int = 4,
        min_clients: int = 2,
        model: dict | None = None,
        meta: dict | None = None,
        name: str = "noise",
    ) -> Job:
        code = Path(tempfile.mkdtemp(prefix="code-", dir=self.folder))
        (code / "client.py").write_text(textwrap.dedent(script))
        write_file(code / "initial.safetensors", model or {"w": np.zeros(3)})
        average = Component("flare_core.workflows.FedAvg", {"min_clients": min_clients, "num_rounds": rounds})
        run = Component("flare_runtime.scripts.ScriptExecutor", {"script": "client.py", "args": args or []})
        (code / "persistor.py").write_text(PERSISTOR)
        files = tuple(PurePosixPath(each) for each in ("client.py", "initial.safetensors", "persistor.py"))
        return Job(
            name=name,
            min_clients=min_clients,
            server=ServerApp(workflows=[average], components={"persistor": Component("persistor.InitialModel", {})}),
            client=ClientApp(executors=[ExecutorEntry(("*",), run)]),
            code=CodeBundle(code, files),
            meta=dict(meta or {}),
        )

    def noise_job(self, gate: Gate | None = None, gated_round: int = 2, **options) -> Job:
        return self.job(NOISE, [str(gate.path) if gate else "", str(gated_round if gate else -1)], **options)

    def run(self, job: Job) -> tuple[dict, str]:
        """Run a job to its end; return what the server says of it, and the digest of its model."""
        with self.admin() as admin:
            submitted = admin.submit(job)
        return self.result(submitted["id"])

    def result(self, job_id: str) -> tuple[dict, str]:
        """Wait for a job, over new connections when the server is killed."""
        found = self.wait(job_id)
        with self.admin() as admin:
            folder = admin.download(job_id, self.folder / "results" / job_id)
        model = folder / "server" / "global_model.safetensors"
        return found, hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else ""

    def wait(self, job_id: str) -> dict:
        with self.admin() as admin:
            return admin.wait(job_id, timeout_s=60)

    def kill(self, name: str) -> None:
        """Kill the server or a site's client, and start it again."""
        pid = self.poc.status()[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        kind = "server" if name == "server" else "client"
        folder = self.poc.project_folder / "server" if name == "server" else self.poc.folder / "sites" / name
        self.wait_gone(pid)
        self.poc._daemons.append(start_daemon(kind, folder, leashed=True))

    def wait_gone(self, pid: int) -> None:
        """Wait until a process that was killed is no more."""
        for daemon in self.poc._daemons:
            if daemon.process.pid == pid:
                daemon.process.wait(20)

    def job_process(self) -> int:
        """The process of the only job at the server."""
        pid = self.poc.status()["server"]
        children = [each for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]
        (child,) = children
        return int(child)

    def close(self) -> None:
        self.poc.stop()
        for gate in self.gates:
            gate.close()
        shutil.rmtree(self.folder)


PERSISTOR = textwrap.dedent("""
    class InitialModel:
        def initial_file(self, code):
            return code.locate("initial.safetensors")

        def export(self, checkpoint):
            pass

        def to_framework(self, params):
            return dict(params)
""")


@pytest.fixture
def hospital():
    made = []

    def make(sites: int = 2) -> Hospital:
        made.append(Hospital(sites))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()
