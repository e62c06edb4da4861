"""Random jobs for tools/faults.py, with their expected outcome, model and record.

Run as a program, this runs one job without faults in the simulator and prints its outcome.
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
"""Adds random numbers from the global generator or its own one, or the site's number, to a model."""

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
"""Recipes by kind of job; the last four tolerate missing sites, so the right model depends on which replied."""
TOLERANT = ("Swarm", "spared", "deadline", "quorum")
ROUNDLESS = ("FedEval", "cross-site")
FLAWS = ("raises", "exits", "NaN", "shape", "leaves", "exits with 0")
TRACKER = Path(__file__).with_name("faults_tracking.py")
SIZES = (10, 10, 10, 1_000, 100_000, 5_000_000)
MOST_BYTES = 150_000_000  # transferred to each site by a job


@dataclass(frozen=True)
class Plan:
    """A randomly drawn job.

    Attributes:
        flaw: the way in which a site's script fails; empty if it does not.
        abort_s: seconds after which an administrator aborts it; None if not aborted.
        afterwards: action after its end: ``delete``, ``clone``, or none.
        pause_s: duration of a task in the script.
        numbers: the numbers that the script adds; see SCRIPT.
        is_tracked: the server reports to a tracker.
        is_watched: a command waits for the job from its start.
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
        # Pauses are chosen so that the tasks in turn take some seconds; with longer rounds, few would end.
        in_turn = {"Cyclic": rounds * sites, "FedEval": 1, "cross-site": 2 * sites}.get(kind, rounds)
        is_tolerant = kind in TOLERANT
        external = random.random() < 0.4
        flaw = random.choice(FLAWS)
        is_flawed = random.random() < 0.15 and not is_tolerant and kind not in ROUNDLESS
        is_flawed &= (kind, flaw) != ("median", "NaN")  # a median tolerates NaN
        is_aborted = random.random() < 0.12 and not is_flawed
        return cls(
            number=number,
            kind=kind,
            sites=sites,
            rounds=rounds,
            size=size,
            min_clients=sites - random.randint(1, 3) if is_tolerant else sites,
            pause_s=round(random.uniform(0.02, 8.0 / in_turn), 3),
            external=external,
            numbers="site" if is_tolerant else "own" if external else random.choice(("global", "own")),
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
        """The job's unique name."""
        return f"job-{self.number}"

    @property
    def outcome(self) -> str:
        """The planned outcome, for the table at the end."""
        return self.flaw or ("abort" if self.abort_s is not None else "finish")

    def recipe(self, script: Path, *, is_disturbed: bool, tracker: int = 0) -> Recipe:
        """Create the recipe; without faults, its scripts do not pause.

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
    """The outcome of a finished job: digests of its models, its record, and its table of evaluations."""

    models: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    table: str = ""

    @classmethod
    def read(cls, run: Path, models: list[Path]) -> Outcome:
        """Read the outcome from a run's folder; ``models`` are possible paths of its model."""
        table = run / "server" / "cross_site_evaluation.json"
        return cls(
            sorted({hashlib.sha256(path.read_bytes()).hexdigest() for path in models if path.is_file()}),
            sorted(json.dumps(row) for row in read_metrics(run / "metrics.jsonl")),
            table.read_text() if table.is_file() else "",
        )


def problems_of(plan: Plan, job: Mapping[str, Any], run: Path, models: list[Path], expected: Outcome) -> list[str]:
    """Return the problems of a job that has ended.

    Args:
        job: the server's description of the job.
        run: the downloaded folder.
        models: possible paths of its final model.
        expected: the outcome of the same job without faults.
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
    if plan.kind in TOLERANT:
        return found + _tolerant_problems(plan, rows, models)
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
    signs |= dict.fromkeys(("leaves", "exits with 0"), "before the run was over")
    if job["state"] == "failed" and site in job["reason"] and signs[plan.flaw] in job["reason"]:
        return []
    return [f"{site} {plan.flaw} in round {plan.flawed_round}, but it {job['state']}: {job['reason']}"]


def _tolerant_problems(plan: Plan, rows: list[dict[str, Any]], models: list[Path]) -> list[str]:
    """Check the model against the record, since each site adds its number; late replies only allow bounds."""
    found = []
    rounds = sorted(row["round"] for row in rows if row["site"] is None)
    if rounds != list(range(plan.rounds)):
        found.append(f"the record has the rounds {rounds}")
    by_round: dict[int, list[float]] = {round_: [] for round_ in range(plan.rounds)}
    for row in rows:
        if row["site"] is not None:
            by_round[row["round"]].append(row["value"])
    fewest = 1 if plan.kind == "quorum" else plan.min_clients  # lost sites are not waited for
    if few := [round_ for round_, values in by_round.items() if len(values) < fewest]:
        found.append(f"fewer than {fewest} sites replied in the rounds {few}")
    present = {path: read_file(path)["w"] for path in models if path.is_file()}
    if not present:
        return [*found, "there is no model"]
    lowest, highest = plan.rounds, plan.rounds * plan.sites
    # A quorum also counts late replies; in a swarm, a contribution can be lost after its metrics were recorded.
    if plan.kind not in ("quorum", "Swarm") and not few:
        lowest = highest = sum(float(np.mean(values)) for values in by_round.values())
    for path, value in present.items():
        low, high = float(np.min(value)), float(np.max(value))
        if low < lowest * (1 - 1e-5) or high > highest * (1 + 1e-5):
            found.append(f"{path} holds {low}…{high}, and the record says {lowest}…{highest}")
    return found


def write_script(folder: Path) -> Path:
    """Write the script that all jobs share."""
    path = folder / "client.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


def undisturbed(plan: Plan) -> Outcome:
    """Run a job in the simulator, which needs a process without threads."""
    with tempfile.TemporaryDirectory(prefix="flare-undisturbed-") as scratch:
        recipe = plan.recipe(write_script(Path(scratch)), is_disturbed=False)
        env = SimEnv(num_clients=plan.sites, num_threads=1, workspace_root=scratch)
        run = recipe.execute(env).get_result()
        return Outcome.read(run, [run / "server" / "global_model.safetensors"])


if __name__ == "__main__":
    outcome = undisturbed(Plan(**json.loads(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(asdict(outcome))}\n")
