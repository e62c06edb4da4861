"""Shared fixtures of the end-to-end tests: small simulator projects on disk, and federations of real processes."""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import psutil
import pytest

from flare_core import Job
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, ServerApp
from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv
from flare_tensor_downloader import read_file, write_file

sys.path.insert(0, str(Path(__file__).parent))  # for service_jobs.py


def pytest_collection_modifyitems(items):
    """Mark tests that start a federation: they load gRPC, after which no simulated worker can be forked."""
    for item in items:
        if {"hospital", "shell"} & set(item.fixturenames):
            item.add_marker(pytest.mark.deployed)


ECHO = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.5}))
"""


POC_JOB = """
    import json
    import sys

    import numpy as np

    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv

    arguments, options = json.loads(sys.argv[1])
    recipe = FedAvgRecipe(**{"name": "case", "initial_model": np.zeros(2), "train_script": "client.py", **arguments})
    run = recipe.execute(PocEnv(**options))
    folder = run.get_result(raise_on_failure=False)
    print(run.get_status(), folder)
"""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run. Two are equal only if their models are bit-identical and their metrics equal.

    Args:
        models: the digest of each final model by location: at the server, after a swarm at every site.
        metrics: every row of the record, sorted, because sites report in any order.
        params: the final model.
    """

    models: dict[str, str]
    metrics: list[str]
    params: dict[str, np.ndarray] = field(compare=False)

    @classmethod
    def read(cls, server: Path, sites: Iterable[Path]) -> Outcome:
        """Read it from the server's folder of a run and from the sites' folders, wherever those are."""
        paths = [folder / "global_model.safetensors" for folder in (server, *sites)]
        found = {path.parent.name: path for path in paths if path.is_file()}
        digests = {place: hashlib.sha256(path.read_bytes()).hexdigest() for place, path in found.items()}
        assert len(set(digests.values())) == 1, digests  # the sites of a swarm all end with the same model
        rows = (server.parent / "metrics.jsonl").read_text().splitlines()
        return cls(digests, sorted(rows), read_file(next(iter(found.values()))))

    def measured(self, site: str) -> bool:
        """Return whether the site has reported a metric."""
        return any(json.loads(row)["site"] == site for row in self.metrics)


class Project:
    """A folder with scripts, and recipes that run them in the simulator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def recipe(self, script: str = ECHO, **arguments):
        """Return a NumPy FedAvg recipe whose script is given as text."""
        path = self.write("client.py", script)
        defaults = {
            "name": "case",
            "min_clients": 2,
            "num_rounds": 1,
            "initial_model": np.zeros(2),
            "train_script": path,
        }
        return FedAvgRecipe(**{**defaults, **arguments})

    def env(self, num_clients: int = 2, **arguments) -> SimEnv:
        if "clients" in arguments:
            num_clients = 0
        return SimEnv(num_clients=num_clients, workspace_root=self.folder / "runs", **arguments)

    def outcome(self, recipe, num_clients: int = 2, **arguments) -> Outcome:
        """Run a recipe, or an exported job, in the simulator."""
        env = self.env(num_clients, **arguments)
        run = env.deploy(recipe) if isinstance(recipe, Job) else recipe.execute(env)
        folder = run.get_result()
        return Outcome.read(folder / "server", sorted((folder / "sites").iterdir()))

    def poc(self, script: str, *, clients: int = 2, env: dict | None = None, **recipe) -> tuple[str, Path, str]:
        """Run a recipe in PocEnv, in a separate process; return status, folder and output."""
        self.write("client.py", script)
        self.write("job.py", POC_JOB)
        arguments = {"min_clients": clients, "num_rounds": 1, **recipe}
        options = {"num_clients": clients, **(env or {})}
        done = self.python("job.py", json.dumps([arguments, options]), timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        status, folder = done.stdout.splitlines()[-1].split(" ", 1)
        return status, Path(folder), done.stdout + done.stderr

    def python(self, *arguments: str, cwd: Path | None = None, timeout: float = 60, **environment: str):
        """Run Python as a user would, in a separate process."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd or self.folder,
            env={**os.environ, "FLARE_WORKSPACE": str(self.folder / "runs"), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Check that every test ends with the processes that it started with."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    gone, left = psutil.wait_procs(
        [process for process in psutil.Process().children(recursive=True) if process.pid not in before], timeout=5
    )
    assert not left, f"processes left behind: {[process.cmdline() for process in left]} (ended late: {len(gone)})"


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
    """A gate where scripts of one round wait until the test lets them through.

    Args:
        path: of the socket.
        decide: called with the site, its process and its number of calls, on a separate thread; the script continues
            when this returns.
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
            if not (asked := connection.recv(200).decode()):
                return  # its process was killed
            site, pid = asked.split()
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
    """A federation of real processes, with jobs for it, in a folder with a short path (for sockets)."""

    def __init__(self, sites: int, *, port: int = 0, listen: int = 0, **more_settings) -> None:
        from flare_deploy.poc import Poc

        self.folder = Path(tempfile.mkdtemp(prefix="flare-t-"))
        self.poc = Poc(self.folder / "poc")
        self.sites = [f"site-{number}" for number in range(1, sites + 1)]
        self.poc.prepare(self.sites, port=port)
        path = self.kit("server") / "local" / "server.json"
        settings = {**json.loads(path.read_text()), "link_grace_s": 3 if not listen else 20}
        if listen:
            settings["listen"] = f"grpc://127.0.0.1:{listen}"
        path.write_text(json.dumps({**settings, **more_settings}))
        self.gates: list[Gate] = []

    def start(self) -> None:
        self.poc.start(owned=True)

    def admin(self):
        from flare_deploy import Admin

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
        rounds: int | None = 4,
        min_clients: int = 2,
        model: dict | None = None,
        meta: dict | None = None,
        name: str = "noise",
        workflow: str = "FedAvg",
        **executor,
    ) -> Job:
        code = Path(tempfile.mkdtemp(prefix="code-", dir=self.folder))
        (code / "client.py").write_text(textwrap.dedent(script))
        write_file(code / "initial.safetensors", model or {"w": np.zeros(3)})
        settings = {"min_clients": min_clients} | ({} if rounds is None else {"num_rounds": rounds})
        if workflow in ("FedAvg", "FedOpt", "Swarm"):
            settings["callbacks"] = [Component("flare_core.BestModel", {"key_metric": "accuracy"})]
        average = Component(f"flare_core.workflows.{workflow}", settings)
        run = Component("flare_runtime.scripts.ScriptExecutor", {"script": "client.py", "args": args or [], **executor})
        persistor = Component("flare_runtime.run.persistor.SafetensorsPersistor", {"initial": "initial.safetensors"})
        files = tuple(PurePosixPath(each) for each in ("client.py", "initial.safetensors"))
        return Job(
            name=name,
            min_clients=min_clients,
            server=ServerApp(workflows=[average], components={"persistor": persistor}),
            client=ClientApp(executors=[ExecutorEntry(("*",), run)]),
            code=CodeBundle(code, files),
            meta=dict(meta or {}),
        )

    def noise_job(self, gate: Gate | None = None, gated_round: int = 2, **options) -> Job:
        return self.job(NOISE, [str(gate.path) if gate else "", str(gated_round if gate else -1)], **options)

    def run(self, job: Job) -> tuple[dict, str]:
        """Run a job to its end; return the server's record of it, and the digest of its model."""
        with self.admin() as admin:
            submitted = admin.submit(job)
        return self.result(submitted["id"])

    def result(self, job_id: str) -> tuple[dict, str]:
        """Wait for a job, reconnecting when the server is killed."""
        found = self.wait(job_id)
        with self.admin() as admin:
            folder = admin.download(job_id, self.folder / "results" / job_id)
        model = folder / "server" / "global_model.safetensors"
        return found, hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else ""

    def outcome(self, job: Job) -> Outcome:
        """Run a job to its end, which must be a success."""
        with self.admin() as admin:
            job_id = admin.submit(job)["id"]
        found, _ = self.result(job_id)
        assert found["state"] == "finished", found
        sites = [self.kit(name) / "jobs" / job_id / "run" / "sites" / name for name in self.sites]
        return Outcome.read(self.folder / "results" / job_id / "server", sites)

    def wait(self, job_id: str) -> dict:
        with self.admin() as admin:
            return admin.wait(job_id, timeout_s=60)

    def kill(self, name: str) -> None:
        """Kill the server or a site's client, and restart it."""
        self.end(name)
        self.restart(name)

    def restart(self, name: str) -> None:
        """Restart the server or a site's client after a kill."""
        from flare_deploy.daemons import start_daemon

        kind = "server" if name == "server" else "client"
        self.poc._daemons.append(start_daemon(kind, self.kit(name), owned=True))

    def end(self, name: str) -> None:
        """Kill the server or a site's client."""
        pid = self.poc.status()[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.wait_gone(pid)

    def strike(self, victim: str, *jobs: int, site: str = "site-1") -> None:
        """Kill processes of a run in the middle, and restart those that nothing else does.

        Args:
            victim: ``"site's job"``, ``"site's client"``, ``"server job"``, ``"server"`` or ``"everybody"``.
            jobs: the processes of sites' jobs.
            site: whose client is meant.
        """
        match victim:
            case "site's job":
                for pid in jobs:
                    os.kill(pid, signal.SIGKILL)
            case "site's client":
                self.kill(site)
            case "server job":
                os.kill(self.job_process(), signal.SIGKILL)
            case "server":
                self.kill("server")
            case "everybody":
                for name in ("server", *self.sites):
                    self.end(name)
                for name in ("server", *self.sites):
                    self.restart(name)
            case _:
                raise ValueError(victim)

    def wait_disconnected(self, name: str) -> None:
        """Wait until the server has noticed that a site is disconnected."""
        found = threading.Event()
        while True:
            with self.admin() as admin:
                (site,) = [each for each in admin.status()["sites"] if each["name"] == name]
            if not site["connected"]:
                return
            found.wait(0.1)

    def kit(self, name: str) -> Path:
        """Return the kit of the server or a site."""
        return self.poc.project_folder / "server" if name == "server" else self.poc.folder / "sites" / name

    def stop(self, name: str) -> None:
        """Stop the server or a site's client gracefully."""
        from flare_deploy.daemons import stop_daemon

        stop_daemon("server" if name == "server" else "client", self.kit(name))

    def wait_for_events(self, job_id: str, *wanted: dict) -> None:
        """Wait until these events have happened in a run, in this order."""
        left = list(wanted)
        with self.admin() as admin:
            for text in admin.read(job_id, "events.jsonl", follow=True):
                for line in text.splitlines():
                    if left[0].items() <= json.loads(line).items():
                        del left[0]
                        if not left:
                            return
        raise AssertionError(f"{left} did not happen in {job_id}")

    def wait_gone(self, pid: int) -> None:
        """Wait until a killed process, or one that ends with it, is gone."""
        for daemon in self.poc._daemons:
            if daemon.process.pid == pid:
                daemon.process.wait(20)
                return
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        has_ended, _, _ = select.select([process], [], [], 20)
        os.close(process)
        assert has_ended, f"process {pid} goes on"

    def job_process(self) -> int:
        """Return the process of the only job at the server."""
        pid = self.poc.status()["server"]
        children = [each for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]
        (child,) = children
        return int(child)

    def close(self) -> None:
        self.poc.stop()
        for gate in self.gates:
            gate.close()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def postgresql():
    """The URL of an empty PostgreSQL server started for the tests."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs PostgreSQL; apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="flare-pg-"))
    shutil.chown(folder, "postgres")
    port = Shell.free_port()

    def run(program: str, *arguments: str) -> None:
        command = ["runuser", "-u", "postgres", "--", str(programs[-1] / program), *arguments]
        subprocess.run(command, cwd="/", check=True, capture_output=True, timeout=60)

    data = str(folder / "data")
    run("initdb", "-A", "trust", "-D", data)
    run("pg_ctl", "-w", "-D", data, "-l", str(folder / "log"), "-o", f"-p {port} -k {folder} -h 127.0.0.1", "start")
    run("createdb", "-h", "127.0.0.1", "-p", str(port), "flare")
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/flare"
    run("pg_ctl", "-w", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.at_length)])
def database(request):
    """A server's settings with each kind of database; the PostgreSQL database is emptied first.

    Tests of what can differ between them run with both, see ``with_both_databases``, the others only at length.
    """
    if request.param == "sqlite":
        return {}
    import sqlalchemy as sa

    url = request.getfixturevalue("postgresql")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return {"database": url}


@pytest.fixture
def hospital():
    made = []

    def make(sites: int = 2, **arguments) -> Hospital:
        made.append(Hospital(sites, **arguments))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()


class Shell:
    """A shell in its own folder, in which ``flare`` is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = 0
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FLARE_")}
        self.environment["XDG_CACHE_HOME"] = str(folder / "cache")
        self.environment["OMP_NUM_THREADS"] = "1"  # sites share one machine, and results must not depend on its cores

    def flare(self, *words: str | Path, code: int = 0) -> str:
        self.commands += 1
        command = [sys.executable, "-m", "flare_deploy.cli", *map(str, words)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def retry(self, *words: str | Path) -> None:
        """Run a command until it succeeds: a process that has just started may not listen yet."""
        command = [sys.executable, "-m", "flare_deploy.cli", *map(str, words)]
        for _ in range(20):
            if subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True).returncode == 0:
                return
        raise AssertionError(f"{words} does not succeed")

    def processes(self) -> list[psutil.Process]:
        """Return the processes whose command line names the folder."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(str(self.folder) in word for word in process.info["cmdline"] or ()) and process.pid != os.getpid()
        ]

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("", 0))
            return probe.getsockname()[1]

    def json(self, *words: str | Path):
        return json.loads(self.flare(*words, "--format", "json"))


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    yield made
    for site in tmp_path.glob("site-*"):
        made.flare("stop", site)
    made.flare("down")
    made.flare("poc", "stop")
    assert made.processes() == []
