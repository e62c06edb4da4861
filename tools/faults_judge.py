"""The administrator of tools/faults.py: submits jobs, waits for them, and reports wrong outcomes."""

from __future__ import annotations

import argparse
import filecmp
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from faults_injection import Federation
from faults_jobs import TOLERANT, Outcome, Plan, problems_of
from flare_deploy.admin import Admin, AdminError
from flare_transport import RemoteError

ResultT = TypeVar("ResultT")
PAUSE_S = 0.5  # between attempts to reach the server
UNDISTURBED_S = 300.0
SUBMITTED_S = 60.0  # longest time from a full disk until the judge starts to wait for the job
WATCHER_S = 90.0  # longest time for a waiting command to notice the end of a job
CODES = {"finished": 0, "failed": 3, "aborted": 4}
UNWRITTEN = ("File too large", "cannot be used now", "disk I/O error")
ENDING_S = 5.0  # a job may end by itself within this time after an abort


@dataclass(frozen=True)
class Result:
    """The end of a job."""

    id: str
    kind: str
    planned: str
    state: str
    problems: tuple[str, ...]


class Judge:
    """A judge that keeps several jobs running at once.

    Attributes:
        results: the results of ended jobs.
        problems: all problems found.
    """

    def __init__(self, federation: Federation, folder: Path, script: Path, options: argparse.Namespace) -> None:
        self._federation = federation
        self._say = federation.say
        self._folder = folder
        self._script = script
        self._options = options
        self._number = 0
        self._lock = threading.Lock()
        self._simulator = threading.Lock()  # one run without faults at a time
        self._never = threading.Event()
        self._ids: set[str] = set()
        self._deleted: set[str] = set()
        self.results: list[Result] = []
        self.problems: list[str] = []

    def run(self, until: float) -> None:
        """Submit jobs until ``until`` on the monotonic clock; return when they have ended."""
        with ThreadPoolExecutor(self._options.at_once, thread_name_prefix="judge") as pool:
            list(pool.map(lambda _: self._work(until), range(self._options.at_once)))

    def finish(self) -> None:
        """Compare the server's list with the submitted jobs."""
        states = {job["id"]: job["state"] for job in self._ask(Admin.jobs)}
        expected = {each.id: each.state for each in self.results if each.id not in self._deleted}
        expected |= {id_: "aborted" for id_, state in expected.items() if state == "hanging"}
        for id_ in sorted(states.keys() | expected.keys()):
            if states.get(id_) != expected.get(id_):
                self.problems.append(f"{id_} is {states.get(id_)} in the server's list, and was {expected.get(id_)}")

    def _work(self, until: float) -> None:
        while time.monotonic() < until:
            with self._lock:
                plan = Plan.draw(self._options.seed, self._number, self._options.sites)
                self._number += 1
            if self._options.jobs and plan.kind not in self._options.jobs:
                continue
            try:
                self._judge(plan)
            except Exception as error:
                self._wrong(plan.name, f"{plan.kind}, to {plan.outcome}: {error!r}")

    def _wrong(self, name: str, text: str) -> None:
        self._say(f"WRONG {name}: {text}")
        self.problems.append(f"{name}: {text}")

    def _judge(self, plan: Plan) -> None:
        job = plan.recipe(self._script, is_disturbed=True, tracker=self._federation.tracker.port).job()
        id_ = self._once(plan.name, lambda admin: admin.submit(job))
        self._say(f"{plan.name} is {id_}: {plan}")
        aborted = None if plan.abort_s is None else self._abort(id_, plan.abort_s)
        expected = self._undisturbed(plan)
        if not self._conclude(plan, id_, expected, aborted):
            return
        if plan.afterwards == "clone":
            clone = self._once(plan.name, lambda admin: admin.clone(id_))
            self._say(f"{plan.name} is cloned as {clone}")
            self._conclude(plan, clone, expected, None)
        elif plan.afterwards == "delete":
            self._delete(id_)

    def _conclude(self, plan: Plan, id_: str, expected: Outcome, aborted: float | None) -> bool:
        """Wait for a job, aborted at ``aborted`` unless None, and judge it; return False if it hangs."""
        began, since = time.monotonic(), time.time()
        watcher = self._watch(id_) if plan.is_watched else None
        try:
            found = self._wait(id_, began + self._options.limit)
        except TimeoutError:
            found = {"id": id_, "state": "hanging", "reason": ""}
            problems = [f"it hangs; {self._ask(lambda admin: admin.job(id_))}"]
            self._ask(lambda admin: admin.abort(id_))
        else:
            run = self._download(id_)
            problems = self._incomplete(id_, run)
            models = [run / "server" / "global_model.safetensors"]
            places = self._federation.poc.folder / "sites"
            models += places.glob(f"*/jobs/{id_}/run/sites/*/global_model.safetensors")
            if found["state"] == "failed" and self._is_of_full_disk(found["reason"], since):
                self._say(f"{plan.name} ({id_}) could not be written down: {found['reason'][:200]}")
            else:
                problems += problems_of(plan, found, run, models, expected)
            if aborted and found["state"] != "aborted" and found["ended"] > aborted + ENDING_S:
                problems.append(f"it was aborted, and {found['state']} {found['ended'] - aborted:.1f} s later")
        if watcher is not None:
            problems += self._watched(watcher, id_, found["state"])
        self.results.append(Result(id_, plan.kind, plan.outcome, found["state"], tuple(problems)))
        for problem in problems:
            self._wrong(f"{plan.name} ({id_}, {plan.kind})", problem)
        if not problems:
            self._say(f"{plan.name} ({id_}) {found['state']} as planned")
        return found["state"] != "hanging"

    def _is_of_full_disk(self, reason: str, since: float) -> bool:
        """Return True if the disk was full and the job failed with an error that names the file."""
        names_it = "File too large" in reason and "'/" in reason
        return names_it and self._federation.was_full(since - SUBMITTED_S)

    def _watch(self, id_: str) -> subprocess.Popen[str]:
        """Start a command that waits for a job, whatever happens to the server meanwhile."""
        kit = str(self._federation.poc.admin)
        command = [sys.executable, "-m", "flare_deploy.cli", "job", "wait", id_, "--kit", kit]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def _watched(self, watcher: subprocess.Popen[str], id_: str, state: str) -> list[str]:
        """Return the problems of the waiting command after the job has ended."""
        try:
            said, _ = watcher.communicate(timeout=WATCHER_S)
        except subprocess.TimeoutExpired:
            watcher.kill()
            return [f"'flare job wait' still waits for it: {watcher.communicate()[0]}"]
        if watcher.returncode == CODES.get(state) or "is the server of the project" in said:  # no server at its start
            return []
        return [f"'flare job wait' ended with {watcher.returncode} when it {state}: {said}"]

    def _abort(self, id_: str, after_s: float) -> float:
        """Abort a job after ``after_s`` seconds; return the time of the abort."""
        self._never.wait(after_s)
        self._ask(lambda admin: admin.abort(id_))
        return time.time()

    def _delete(self, id_: str) -> None:
        self._deleted.add(id_)
        try:
            self._ask(lambda admin: admin.delete(id_))
        except AdminError as error:
            if "there is no job" not in str(error):  # the first answer may have been lost
                raise
        if (self._federation.kit("server") / "jobs" / id_).exists():
            self._wrong(id_, "it was deleted, and its folder is there")

    def _wait(self, id_: str, until: float) -> dict[str, Any]:
        return self._ask(lambda admin: admin.wait(id_, timeout_s=max(0.0, until - time.monotonic())))

    def _download(self, id_: str) -> Path:
        attempts = iter(range(1_000_000))
        return self._ask(lambda admin: admin.download(id_, self._folder / "results" / f"{id_}-{next(attempts)}"))

    def _incomplete(self, id_: str, run: Path) -> list[str]:
        """Return a problem for each file of a run that was not downloaded unchanged."""
        there = self._federation.kit("server") / "jobs" / id_ / "run"
        names = {path.relative_to(there) for path in there.rglob("*") if path.is_file()}
        names -= {
            name for name in names if name.name == "state.json" or name.name.startswith(("round-", "state-", "best-"))
        }
        return [
            f"{name} was not downloaded unchanged"
            for name in sorted(names)
            if not (run / name).is_file() or not filecmp.cmp(there / name, run / name, shallow=False)
        ]

    def _once(self, name: str, submit: Callable[[Admin], dict[str, Any]]) -> str:
        """Submit a job exactly once, even if the server's answer is lost."""
        while True:
            known = set(self._ids)
            try:
                with Admin.connect(self._federation.poc.admin) as admin:
                    id_ = str(submit(admin)["id"])
            except AdminError as error:
                if isinstance(error.__cause__, RemoteError) and not _is_temporary(error):
                    raise
                self._never.wait(PAUSE_S)
                mine = [job["id"] for job in self._ask(Admin.jobs) if job["name"] == name and job["id"] not in known]
                if not mine:
                    continue
                (id_,) = mine
            self._ids.add(id_)
            return id_

    def _ask(self, question: Callable[[Admin], ResultT]) -> ResultT:
        """Ask the server, and retry while it is unreachable."""
        while True:
            try:
                with Admin.connect(self._federation.poc.admin) as admin:
                    admin.connection.notify = self._say
                    return question(admin)
            except AdminError as error:
                if isinstance(error.__cause__, RemoteError) and not _is_temporary(error):
                    raise
                self._never.wait(PAUSE_S)

    def _undisturbed(self, plan: Plan) -> Outcome:
        if plan.kind in TOLERANT or plan.flaw:
            return Outcome()
        command = [sys.executable, str(Path(__file__).with_name("faults_jobs.py")), json.dumps(asdict(plan))]
        with self._simulator:
            done = subprocess.run(command, capture_output=True, text=True, timeout=UNDISTURBED_S, check=False)
        if done.returncode:
            raise RuntimeError(f"it failed without faults: {done.stdout}{done.stderr}")
        return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _is_temporary(error: AdminError) -> bool:
    """Return True if the error is temporary: the server is stopping, or its disk is full."""
    return "stopped" in str(error) or any(sign in str(error) for sign in UNWRITTEN)
