"""The battery: every recipe with every codec, mode of participation, start and disturbance.

Each row of factors ends as its plain loop in ``battery/loops.py`` does, within the bound of its codec, or is refused
by name when the recipe is made. To add a recipe, add a line to ``RECIPES``. CI runs rows that cover all pairs of
values of different factors; with FLARE_SLOW_TESTS in the environment, all rows.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flare_recipes_np as recipes
from flare_core import FlareError
from flare_core.optimizers import Adam
from flare_core.robust import CoordinateMedian, Krum, TrimmedMean
from flare_core.schedules import Cosine
from flare_tensor_downloader import read_file, write_file

HERE = Path(__file__).with_name("battery")
sys.path.insert(0, str(HERE))
import loops  # noqa: E402
import sites  # noqa: E402

SLOW = bool(os.environ.get("FLARE_SLOW_TESTS"))
ROUNDS = 3
DEADLINE_S = 2.0


@dataclass(frozen=True)
class Line:
    """A recipe, and the loop that it must equal.

    Attributes:
        cls: the recipe's class.
        loop: creates the loop, given the participants and their modes.
        arguments: the recipe's arguments specific to the algorithm.
        refuses: by factor, the start of a value and the text of the refusal.
        amplifies: the factor by which a float32 error may have grown at the end.
    """

    cls: type
    loop: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    refuses: tuple[tuple[str, str, str], ...] = ()
    amplifies: float = 1.0


def described(part: Any, **args: Any) -> dict[str, Any]:
    return {"class_path": f"{type(part).__module__}.{type(part).__name__}", "args": args}


def loop(cls=loops.Loop, **settings):
    return lambda **row: cls(**row, **settings)


WEIGHTS = {"site-1": 0.5, "site-2": 0.0}
WEIGHTS_BY_NUMBER = {1: 0.5, 2: 0.0}
NO_TOPK = ("codec", "topk", "topk.*aggregator")
NO_QUORUM = ("part", "quorum", "quorum cannot be chosen")
NOT_FOR_KRUM = (
    ("part", "deadline", "Krum with 0 attackers needs 3 sites in a round, but 2 replied"),
    ("part", "quorum", "quorum is 2, but the aggregator, a Krum, needs"),
    ("part", "clients_per_round", "clients_per_round is 2, but the aggregator, a Krum, needs"),
)
NOT_FOR_CYCLIC = (
    ("part", "quorum", "no argument 'quorum'"),
    ("part", "clients_per_round", "no argument 'clients_per_round'"),
)
ADAM = {
    "optimizer_args": described(Adam(), lr=0.1),
    "lr_scheduler_args": described(Cosine(ROUNDS), rounds=ROUNDS),
    "exclude_vars": "head",
}

RECIPES = {
    "fedavg": Line(recipes.FedAvgRecipe, loop()),
    "fedavg-weights-exclude": Line(
        recipes.FedAvgRecipe,
        loop(site_weights=WEIGHTS_BY_NUMBER, excluded=("head",)),
        {"aggregation_weights": WEIGHTS, "exclude_vars": ["head"]},
    ),
    "fedavg-all-of-the-old": Line(recipes.FedAvgRecipe, loop(exponent=0.0), {"staleness_exponent": 0.0}),
    "median": Line(
        recipes.FedAvgRecipe, loop(combine=loops.median), {"aggregator": CoordinateMedian()}, refuses=(NO_TOPK,)
    ),
    "trimmed": Line(
        recipes.FedAvgRecipe, loop(combine=loops.trimmed), {"aggregator": TrimmedMean(0.34)}, refuses=(NO_TOPK,)
    ),
    "krum": Line(
        recipes.FedAvgRecipe,
        loop(loops.Krum),
        {"aggregator": Krum(0)},
        refuses=(*NOT_FOR_KRUM[1:], NO_TOPK, NOT_FOR_KRUM[0]),
    ),
    "fedopt": Line(recipes.FedOptRecipe, loop(loops.FedOpt, step=loops.momentum)),
    "fedopt-adam-schedule-exclude": Line(
        recipes.FedOptRecipe,
        loop(
            loops.FedOpt,
            step=loops.adam,
            factor=lambda round_: (1 + np.cos(np.pi * round_ / ROUNDS)) / 2,
            excluded=("head",),
        ),
        ADAM,
        amplifies=100.0,  # a step does not shrink with its gradient
    ),
    "scaffold": Line(recipes.ScaffoldRecipe, loop(loops.Scaffold), refuses=(NO_QUORUM,)),
    "scaffold-weights-exclude": Line(
        recipes.ScaffoldRecipe,
        loop(loops.Scaffold, site_weights=WEIGHTS_BY_NUMBER, excluded=("head", "w")),
        {"aggregation_weights": WEIGHTS, "exclude_vars": "head|w"},
        refuses=(NO_QUORUM,),
    ),
    "cyclic": Line(recipes.CyclicRecipe, loop(loops.Cyclic), refuses=NOT_FOR_CYCLIC),
    "swarm": Line(
        recipes.SwarmLearningRecipe, loop(), refuses=(NO_QUORUM, ("codec", "", "compression cannot be chosen"))
    ),
    "swarm-weights-exclude": Line(
        recipes.SwarmLearningRecipe,
        loop(site_weights=WEIGHTS_BY_NUMBER, excluded=("head",)),
        {"aggregation_weights": WEIGHTS, "exclude_vars": "head"},
        refuses=(NO_QUORUM, ("codec", "", "compression cannot be chosen")),
    ),
}
FACTORS: dict[str, list[Any]] = {
    "recipe": list(RECIPES),
    "transfer": ["DIFF", "FULL"],
    "codec": [None, "fp16", "bf16", "int8", "int4", "zstd", "int8+zstd", "topk:0.1"],
    "part": ["all", "deadline", "quorum", "clients_per_round"],
    "start": ["model", "checkpoint", "both"],
}
KILLS: dict[str, list[Any]] = {
    "recipe": ["fedavg", "fedopt-adam-schedule-exclude", "scaffold", "cyclic", "swarm"],
    "kill": ["site before it has trained", "site after it has sent", "server"],
    "codec": [None, "topk:0.1", "int8"],
    "transfer": ["DIFF", "FULL"],
}
RECORDS: list[tuple[str, str, dict[str, Any]]] = [
    ("fedopt-adam-schedule-exclude", "server", {"clients_per_round": 2, "stop_cond": "accuracy >= -0.3"}),
    ("cyclic", "server", {"order": "random"}),
    ("swarm", "site", {"clients_per_round": 2, "patience": 3}),
    ("fedavg", "server", {"clients_per_round": 2, "patience": 3}),
    ("swarm", "server", {"clients_per_round": 2}),
]
# The error of a value, as a share of the largest one in its block.
BOUNDS = {"fp16": 2**-11, "bf16": 2**-8, "int8": 1 / 254, "int4": 1 / 14, "topk": 1.0}

CLIENT = HERE / "client.py"


def rows(factors: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    if SLOW:
        return [dict(zip(factors, each, strict=True)) for each in itertools.product(*factors.values())]
    return loops.pairs(factors)


def name_of(row: Mapping[str, Any]) -> str:
    return "-".join(str(value) for value in row.values())


def refusal(row: Mapping[str, Any]) -> str | None:
    """Return the text of a row's refusal, one of several if more than one thing is wrong; None if it must run."""
    texts = [
        text
        for factor, beginning, text in RECIPES[row["recipe"]].refuses
        if row.get(factor) is not None and row[factor].startswith(beginning)
    ]
    if (row["codec"] or "").startswith("topk") and row["transfer"] == "FULL":
        texts.append("topk.*DIFF")
    if (row["codec"] or "").startswith("int") and row["transfer"] == "FULL" and RECIPES[row["recipe"]].amplifies > 1:
        texts.append("compression is 'int.*DIFF")
    return "|".join(texts) or None


def recipe(project, row: Mapping[str, Any], plan: Mapping[str, Any], **arguments: Any) -> Any:
    line = RECIPES[row["recipe"]]
    given = {"initial_model": sites.initial(), "initial_ckpt": None}
    if row.get("start") == "checkpoint":
        np.savez(project.folder / "start.npz", **sites.initial())
        given = {"initial_ckpt": project.folder / "start.npz"}
    elif row.get("start") == "both":
        write_file(project.folder / "start.safetensors", sites.initial())
        given["initial_model"] = {key: np.zeros_like(value) for key, value in sites.initial().items()}
        given["initial_ckpt"] = project.folder / "start.safetensors"
    return line.cls(
        name="battery",
        train_script=CLIENT,
        train_args=[json.dumps({"folder": str(project.folder), **plan})],
        params_transfer_type=row["transfer"],
        compression=row["codec"],
        **{"min_clients": len(sites.SITES), "num_rounds": ROUNDS, **given, **line.arguments, **arguments},
    )


def expected(row: Mapping[str, Any], taking_part: list[list[tuple[int, int]]]) -> tuple[Any, list[dict]]:
    codec = row["codec"]
    of_tasks = None if (codec or "").startswith("topk") else codec
    made = RECIPES[row["recipe"]].loop(
        rounds=taking_part, is_diff=row["transfer"] == "DIFF", task=of_tasks, result=codec
    )
    return made, made.run()


def who_took_part(metrics: list[Mapping[str, Any]]) -> list[list[tuple[int, int]]]:
    found = {(each["round"], int(each["site"][-1])) for each in metrics if each["site"] and each["key"] == "accuracy"}
    return [sorted((site, round_) for round_, site in found if round_ == wanted) for wanted in range(ROUNDS)]


def check_equal(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], row: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    start = sites.initial()
    for key, value in wanted.items():
        assert (found[key].dtype, found[key].shape) == (start[key].dtype, start[key].shape), key
        off = np.abs(found[key].astype(np.float64) - value)
        exact = 0 if start[key].dtype.kind in "iub" else 1e-5 if start[key].dtype == np.float32 else 1e-9
        bound = BOUNDS.get(re.split(r"[:+]", row["codec"] or "")[0], 0.0)
        if value.size < loops.LARGE or not bound:
            assert off.max(initial=0) <= exact, f"{key} is off by {off.max()}"
            continue
        # If float32 and float64 round to different sides of a step, a value is off by one codec step.
        largest = 2 * bound * ROUNDS * 10 * max(1.0, np.abs(value).max())
        assert off.max() <= largest, f"{key} is off by {off.max()}"
        share = np.mean(off > 2e-5 * RECIPES[row["recipe"]].amplifies)
        assert share < 0.15, f"{share:.1%} of {key} are off, by {off.mean()} on average"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("row", rows(FACTORS), ids=name_of)
def test_a_run_matches_its_plain_loop_or_is_refused(project, row):
    plan: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    if row["part"] == "deadline":  # in round 1, the third site replies after round 2 has begun
        plan = {"late": [3, 1], "let_go": [1, 2]}
        arguments = {"min_clients": 2, "round_deadline_s": DEADLINE_S}
    elif row["part"] == "quorum":  # the third site replies in round 2 to its task of round 0, before the first
        plan = {"late": [3, 0], "let_go": [1, 2], "last": 3}
        arguments = {"min_clients": 2, "quorum": 2}
    elif row["part"] == "clients_per_round":
        arguments = {"min_clients": 2, "clients_per_round": 2}
    for name in ("late", "last"):
        os.mkfifo(project.folder / name)
    if (text := refusal(row)) is not None:
        with pytest.raises(FlareError, match=text):
            recipe(project, row, plan, **arguments).execute(project.env(len(sites.SITES), num_threads=len(sites.SITES)))
        return
    made = recipe(project, row, plan, **arguments)
    run = made.execute(project.env(len(sites.SITES), num_threads=len(sites.SITES)))
    folder = run.get_result()
    taking_part = who_took_part(run.metrics())
    if row["part"] == "quorum":
        assert [[site for site, _ in each] for each in taking_part] == [[1, 2], [1, 2], [2, 3]]
        taking_part[2] = [(2, 2), (3, 0)]
    elif row["part"] == "deadline":
        assert 3 not in [site for site, _ in taking_part[1]]
    elif row["part"] == "clients_per_round":
        assert [len(each) for each in taking_part] == [2] * ROUNDS
    else:
        assert [len(each) for each in taking_part] == [3] * ROUNDS
    the_loop, models = expected(row, taking_part)
    at_server = folder / "server" / "global_model.safetensors"
    at_sites = folder / "sites" / "site-1" / "global_model.safetensors"
    is_swarm = "swarm" in row["recipe"]
    check_equal(read_file(at_sites if is_swarm else at_server), models[-1], row)
    if row["recipe"] != "cyclic":
        check_metrics(run, the_loop, models, row, at_sites.with_name("best_model.safetensors") if is_swarm else None)


def check_metrics(run: Any, the_loop: Any, models: list[dict], row: Mapping[str, Any], best: Path | None) -> None:
    means = the_loop.accuracies(models)
    found = {
        each["round"]: each["value"] for each in run.metrics() if each["site"] is None and each["key"] == "accuracy"
    }
    assert [found[round_] for round_ in range(ROUNDS)] == pytest.approx(means, abs=1e-6)
    if row["part"] != "quorum":  # where a model is evaluated in several rounds
        chosen = read_file(best) if best is not None else run.load_model("best")
        check_equal(chosen, models[int(np.argmax(means))], row)


NEWTON = """
    import numpy as np
    from flare_recipes_sklearn import newton_sums

    import flare_core.client as flare

    flare.init()
    rows = np.random.default_rng(int(flare.get_site_name()[-1])).normal(size=(60, 4))
    labels = (rows.sum(axis=1) + np.sin(np.arange(60) * 3) * 3 > 0).astype(int)
    while flare.is_running():
        model = flare.receive()
        sums = newton_sums(model.params["weights"], rows, labels)
        flare.send(flare.FLModel(params=sums, metrics={"accuracy": 0.0}))
"""


def newton(taking_part: list[list[tuple[int, int]]], start: np.ndarray) -> np.ndarray:
    """Newton's method on the pooled rows of the participants; 0.8 of each step."""
    weights = start
    for sites_ in taking_part:
        rows = np.concatenate([np.random.default_rng(site).normal(size=(60, 4)) for site, _ in sites_])
        noise = np.tile(np.sin(np.arange(60) * 3) * 3, len(sites_))
        labels, table = rows.sum(axis=1) + noise > 0, np.column_stack([rows, np.ones(len(rows))])
        chance = 1 / (1 + np.exp(-table @ weights))
        hessian = (table * (chance * (1 - chance))[:, None]).T @ table
        weights = weights + 0.8 * np.linalg.solve(hessian, table.T @ (labels - chance))
    return weights


@pytest.mark.parametrize("part", [{}, {"clients_per_round": 2}], ids=["all", "clients_per_round"])
@pytest.mark.parametrize("codec", [None, "zstd", "int8"])
@pytest.mark.parametrize("start", ["zeros", "checkpoint"])
def test_a_sum_over_sites_equals_that_over_their_rows(project, part, codec, start):
    sklearn = pytest.importorskip("flare_recipes_sklearn")
    weights = np.zeros(5) if start == "zeros" else np.linspace(-1, 1, 5)
    np.savez(project.folder / "start.npz", weights=weights)
    arguments = {
        "min_clients": 2,
        "num_rounds": ROUNDS,
        "num_features": 4,
        "train_script": project.write("client.py", NEWTON),
        "compression": codec,
        **({} if start == "zeros" else {"initial_ckpt": project.folder / "start.npz"}),
        **part,
    }
    if codec == "int8":
        with pytest.raises(FlareError, match=r"compression of results is .int8., but the sites .* send sums"):
            sklearn.FedAvgLrRecipe(**arguments)
        return
    run = sklearn.FedAvgLrRecipe(**arguments).execute(project.env(3))
    taking_part = who_took_part(run.metrics())
    assert {len(each) for each in taking_part} == {2 if part else 3}
    np.testing.assert_allclose(run.load_model()["weights"], newton(taking_part, weights), rtol=0, atol=1e-10)


def disturbed_rows() -> list[Any]:
    """Return rows that cover all pairs; those that show no other recipe and no other kill are run at length."""
    seen: set[str] = set()
    found = []
    for row in rows(KILLS):
        if refusal(row) is None:
            news = {row["recipe"], row["kill"]} - seen
            seen |= news
            found.append(pytest.param(row, id=name_of(row), marks=() if news else pytest.mark.at_length))
    return found


@pytest.mark.timeout(100)
@pytest.mark.deployed
@pytest.mark.parametrize("row", disturbed_rows())
def test_a_disturbed_run_matches_its_plain_loop(project, hospital, row):
    place = hospital(len(sites.SITES))
    dead = threading.Event()

    def decide(site: str, pid: int, times: int) -> None:
        if not dead.is_set():
            dead.set()
            os.kill(place.job_process() if row["kill"] == "server" else pid, signal.SIGKILL)
            threading.Event().wait(30)  # until its process is gone

    gate = place.gate(decide)
    when = "ask_after" if row["kill"] == "site after it has sent" else "ask_before"
    made = recipe(project, row, {"gate": str(gate.path), when: [2, 1]})
    with place.admin() as admin:
        job = admin.submit(made.job())["id"]
    found, _ = place.result(job)
    assert found["state"] == "finished", found["reason"]
    assert dead.is_set()
    everybody = [[(site, round_) for site in sites.SITES] for round_ in range(ROUNDS)]
    _, models = expected(row, everybody)
    at_server = place.folder / "results" / job / "server" / "global_model.safetensors"
    at_site = place.kit("site-1") / "jobs" / job / "run" / "sites" / "site-1" / "global_model.safetensors"
    check_equal(read_file(at_site if row["recipe"] == "swarm" else at_server), models[-1], row)


@pytest.mark.timeout(100)
@pytest.mark.deployed
@pytest.mark.parametrize(("name", "victim", "arguments"), RECORDS if SLOW else RECORDS[:2])
def test_a_disturbed_run_has_the_record_of_an_undisturbed_one(project, hospital, name, victim, arguments):
    """The same sites are drawn, the same round is the best one, and the run ends after the same round."""
    place = hospital(len(sites.SITES))
    dead = threading.Event()

    def decide(site: str, pid: int, times: int) -> None:
        if not dead.is_set():
            dead.set()
            os.kill(place.job_process() if victim == "server" else pid, signal.SIGKILL)
            threading.Event().wait(30)  # until its process is gone

    gate = place.gate(decide)
    found = []
    for plan in ({}, {"gate": str(gate.path), "ask_before": [0, 3]}):
        made = recipe(
            project,
            {"recipe": name, "transfer": "DIFF", "codec": None},
            plan,
            **{"min_clients": 2, "num_rounds": 6, **arguments},
        )
        with place.admin() as admin:
            job = admin.submit(made.job())["id"]
        ended, _ = place.result(job)
        assert ended["state"] == "finished", ended["reason"]
        folder = place.folder / "results" / job
        summary = json.loads((folder / "summary.json").read_text())
        at_site = place.kit("site-1") / "jobs" / job / "run" / "sites" / "site-1"
        models = at_site if name == "swarm" else folder / "server"
        bits = [path.read_bytes() for path in sorted(models.glob("*_model.safetensors"))]
        rows_ = sorted((folder / "metrics.jsonl").read_text().splitlines())
        found.append((rows_, summary["rounds"], summary["best"], bits))
    assert dead.is_set()
    assert found[0] == found[1]
