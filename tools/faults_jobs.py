"""The jobs of tools/faults.py: how each is drawn, how it must end, and what its model and its record must be.

Run as a program, this runs one job where nothing disturbs it, in the simulator, and prints what came of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import flare_recipes_np
from faults_network import HOST
from flare_core import Recipe
from flare_runtime import SimEnv
from flare_runtime.run.record import read_metrics
from flare_tensor_downloader import read_file

SCRIPT = """
    import os
    import sys
    import threading

    import numpy as np

    import flare_core.client as flare

    flare.init()
    numbers, size, pause_s, flaw, flawed_site, flawed_round = sys.argv[1:]
    site = int(flare.get_site_name().removeprefix("site-"))
    while flare.is_running():
        model = flare.receive()
        threading.Event().wait(float(pause_s))  # as long as training would take
        is_flawed = site == int(flawed_site) and model.current_round == int(flawed_round)
        if is_flawed and flaw == "raises":
            raise ValueError("planned to fail")
        if is_flawed and flaw == "exits":
            sys.exit(3)
        if is_flawed and flaw == "leaves":
            sys.exit(0)
        if is_flawed and flaw == "exits with 0":
            os._exit(0)
        if flare.is_submit_model():
            own = np.random.default_rng(site).normal(size=int(size)).astype(np.float32)
            flare.send(flare.FLModel(params={"w": own}))
            continue
        w = model.params["w"]
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics={"accuracy": float(w.mean()) + site}))
            continue
        if numbers == "site":
            change, accuracy = np.full(w.shape, site, w.dtype), site
        else:
            source = np.random if numbers == "global" else np.random.default_rng([site, model.current_round])
            change, accuracy = source.normal(size=w.shape).astype(w.dtype), float(source.uniform())
        if is_flawed and flaw == "NaN":
            change[0] = np.nan
        if is_flawed and flaw == "shape":
            change = w = np.zeros(len(w) + 1, w.dtype)
        control = {"w": -change / 10} if model.optimizer_params else None
        flare.send(flare.FLModel(params={"w": w + change}, optimizer_params=control, metrics={"accuracy": accuracy}))
"""
"""Adds to a model random numbers, from the global generator or one of its own, or the site's number."""

RECIPES = {
    "FedAvg": ("FedAvgRecipe", {}),
    "median": ("FedAvgRecipe", {"aggregator": {"class_path": "flare_core.robust.CoordinateMedian", "args": {}}}),
    "compression": ("FedAvgRecipe", {"compression": "int8"}),
    "FedOpt": ("FedOptRecipe", {}),
    "SCAFFOLD": ("ScaffoldRecipe", {}),
    "Cyclic": ("CyclicRecipe", {}),
    "FedEval": ("FedEvalRecipe", {}),
    "cross-site": ("CrossSiteEvalRecipe", {}),
    "Swarm": ("SwarmLearningRecipe", {}),
    "spared": ("FedAvgRecipe", {}),
    "deadline": ("FedAvgRecipe", {"round_deadline_s": 3.0}),
    "quorum": ("FedAvgRecipe", {}),
}
"""By kind of job, its recipe; the last four spare sites, so what is right depends on who has answered."""
SPARING = ("Swarm", "spared", "deadline", "quorum")
ROUNDLESS = ("FedEval", "cross-site")
FLAWS = ("raises", "exits", "NaN", "shape", "leaves", "exits with 0")
TRACKER = Path(__file__).with_name("faults_tracking.py")
SIZES = (10, 10, 10, 1_000, 100_000, 5_000_000)
MOST_BYTES = 150_000_000  # that a job moves to each site


@dataclass(frozen=True)
class Plan:
    """One job, as it was drawn.

    Attributes:
        flaw: how the script of a site fails in a round, if it does.
        abort_s: after how many seconds an administrator aborts it; None if nobody does.
        afterwards: what is done with it when it has ended: ``delete``, ``clone``, or nothing.
        pause_s: how long a script takes for a task.
        numbers: what the script adds: see SCRIPT.
        is_tracked: whether the server tells a tracker.
        is_watched: whether a command waits for it all the time.
    """

    number: int
    kind: str
    sites: int
    rounds: int
    size: int
    min_clients: int
    pause_s: float
    external: bool
    numbers: str
    flaw: str = ""
    flawed_site: int = 0
    flawed_round: int = -1
    abort_s: float | None = None
    afterwards: str = ""
    is_tracked: bool = False
    is_watched: bool = False

    @classmethod
    def draw(cls, seed: int, number: int, sites: int) -> Plan:
        """Draw a job; the same one for the same arguments."""
        random = Random(f"{seed} job {number}")
        kind = random.choice(list(RECIPES))
        size = random.choice(SIZES)
        rounds = 1 if kind in ROUNDLESS else max(1, min(random.randint(1, 30), MOST_BYTES // (8 * size)))
        # A job of these many tasks, one after the other, goes on for some seconds; longer rounds would seldom end.
        in_turn = {"Cyclic": rounds * sites, "FedEval": 1, "cross-site": 2 * sites}.get(kind, rounds)
        is_sparing = kind in SPARING
        external = random.random() < 0.4
        flaw = random.choice(FLAWS)
        is_flawed = random.random() < 0.15 and not is_sparing and kind not in ROUNDLESS
        is_flawed &= (kind, flaw) != ("median", "NaN")  # which a median is there to bear
        is_aborted = random.random() < 0.12 and not is_flawed
        return cls(
            number=number,
            kind=kind,
            sites=sites,
            rounds=rounds,
            size=size,
            min_clients=sites - random.randint(1, 3) if is_sparing else sites,
            pause_s=round(random.uniform(0.02, 8.0 / in_turn), 3),
            external=external,
            numbers="site" if is_sparing else "own" if external else random.choice(("global", "own")),
            flaw=flaw if is_flawed else "",
            flawed_site=random.randint(1, sites),
            flawed_round=random.randrange(rounds) if is_flawed else -1,
            abort_s=round(random.uniform(0, 12), 1) if is_aborted else None,
            afterwards=random.choices(("", "delete", "clone"), (6, 2, 1))[0],
            is_tracked=random.random() < 0.3,
            is_watched=random.random() < 0.3,
        )

    @property
    def name(self) -> str:
        """The job's name, which no other one has."""
        return f"job-{self.number}"

    @property
    def outcome(self) -> str:
        """For the table at the end: what is to become of it."""
        return self.flaw or ("abort" if self.abort_s is not None else "finish")

    def recipe(self, script: Path, *, is_disturbed: bool, tracker: int = 0) -> Recipe:
        """Make the recipe; an undisturbed run takes no longer than it must.

        Args:
            tracker: the port of the tracker.
        """
        name, arguments = RECIPES[self.kind]
        arguments = dict(arguments)
        if self.kind not in ROUNDLESS:
            arguments["num_rounds"] = self.rounds
        if self.kind == "quorum":
            arguments["quorum"] = self.min_clients
        words = [self.numbers, self.size, self.pause_s if is_disturbed else 0, self.flaw or "none"]
        made: Recipe = getattr(flare_recipes_np, name)(
            name=self.name,
            min_clients=self.min_clients,
            initial_model={"w": np.zeros(self.size, np.float32)},
            train_script=script,
            train_args=[str(word) for word in (*words, self.flawed_site, self.flawed_round)],
            launch_external_process=self.external and is_disturbed,
            **arguments,
        )
        if self.is_tracked and is_disturbed:
            made.add_server_file(TRACKER)
            receiver = {"class_path": f"{TRACKER.stem}.LineReceiver", "args": {"host": HOST, "port": tracker}}
            made.add_server_component("tracking", receiver)
        return made


@dataclass
class Outcome:
    """What has come of a job that finished: the digest of its model, its record, and its table of evaluations."""

    models: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    table: str = ""

    @classmethod
    def read(cls, run: Path, models: list[Path]) -> Outcome:
        """Read it from a run's folder; ``models`` are the places where one may lie."""
        table = run / "server" / "cross_site_evaluation.json"
        return cls(
            sorted({hashlib.sha256(path.read_bytes()).hexdigest() for path in models if path.is_file()}),
            sorted(json.dumps(row) for row in read_metrics(run / "metrics.jsonl")),
            table.read_text() if table.is_file() else "",
        )


def problems_of(plan: Plan, job: Mapping[str, Any], run: Path, models: list[Path], expected: Outcome) -> list[str]:
    """Say what is wrong with a job that has ended.

    Args:
        job: as the server has it.
        run: the folder that was downloaded.
        models: where its final model may lie.
        expected: of the same job, undisturbed.
    """
    summary = json.loads((run / "summary.json").read_text())
    found = [] if summary["outcome"] == job["state"] else [f"its summary says {summary['outcome']}"]
    rows = read_metrics(run / "metrics.jsonl")
    found += [f"recorded {count} times: {key}" for key, count in _keys(rows).items() if count > 1]
    if plan.flaw and plan.abort_s is None:
        return found + _flaw_problems(plan, job)
    if job["state"] == "aborted" and plan.abort_s is not None:
        return found
    if job["state"] != "finished":
        return [*found, f"it {job['state']}: {job['reason']}"]
    if plan.kind in SPARING:
        return found + _sparing_problems(plan, rows, models)
    outcome = Outcome.read(run, models)
    for name in ("models", "metrics", "table"):
        if getattr(outcome, name) != getattr(expected, name):
            found.append(f"its {name} differ: {_difference(getattr(outcome, name), getattr(expected, name))}")
    return found


def _keys(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter((row["round"], row["site"], *(row[key] for key in row if key not in ("round", "site", "value")))
                   for row in rows)  # fmt: skip


def _difference(found: Any, expected: Any) -> str:
    if isinstance(found, str):
        return f"{found[:300]} instead of {expected[:300]}"
    return f"{len(found)} of {len(expected)}, {sorted(set(found) - set(expected))[:3]} instead of" \
        f" {sorted(set(expected) - set(found))[:3]}"  # fmt: skip


def _flaw_problems(plan: Plan, job: Mapping[str, Any]) -> list[str]:
    site = f"site-{plan.flawed_site}"
    signs = {"raises": "planned to fail", "exits": "3", "NaN": "finite", "shape": "shape"}
    signs |= dict.fromkeys(("leaves", "exits with 0"), "although the run goes on")
    if job["state"] == "failed" and site in job["reason"] and signs[plan.flaw] in job["reason"]:
        return []
    return [f"{site} {plan.flaw} in round {plan.flawed_round}, but it {job['state']}: {job['reason']}"]


def _sparing_problems(plan: Plan, rows: list[dict[str, Any]], models: list[Path]) -> list[str]:
    """Each site adds its number, so the record says what the model must be, but where late replies count, too."""
    found = []
    rounds = sorted(row["round"] for row in rows if row["site"] is None)
    if rounds != list(range(plan.rounds)):
        found.append(f"the record has the rounds {rounds}")
    by_round: dict[int, list[float]] = {round_: [] for round_ in range(plan.rounds)}
    for row in rows:
        if row["site"] is not None:
            by_round[row["round"]].append(row["value"])
    fewest = 1 if plan.kind == "quorum" else plan.min_clients  # of which those that are lost are not waited for
    if few := [round_ for round_, values in by_round.items() if len(values) < fewest]:
        found.append(f"fewer than {fewest} sites have replied in the rounds {few}")
    present = {path: read_file(path)["w"] for path in models if path.is_file()}
    if not present:
        return [*found, "there is no model"]
    lowest, highest = plan.rounds, plan.rounds * plan.sites
    # A quorum counts late replies, too; in a swarm, what a site has made can be lost after its metrics were noted.
    if plan.kind not in ("quorum", "Swarm") and not few:
        lowest = highest = sum(float(np.mean(values)) for values in by_round.values())
    for path, value in present.items():
        low, high = float(np.min(value)), float(np.max(value))
        if low < lowest * (1 - 1e-5) or high > highest * (1 + 1e-5):
            found.append(f"{path} holds {low}…{high}, and the record says {lowest}…{highest}")
    return found


def write_script(folder: Path) -> Path:
    """Write the script of all jobs."""
    path = folder / "client.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


def undisturbed(plan: Plan) -> Outcome:
    """Run a job in the simulator, which takes a process without threads."""
    with tempfile.TemporaryDirectory(prefix="flare-undisturbed-") as scratch:
        recipe = plan.recipe(write_script(Path(scratch)), is_disturbed=False)
        env = SimEnv(num_clients=plan.sites, num_threads=1, workspace_root=scratch)
        run = recipe.execute(env).get_result()
        return Outcome.read(run, [run / "server" / "global_model.safetensors"])


if __name__ == "__main__":
    outcome = undisturbed(Plan(**json.loads(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(asdict(outcome))}\n")
