"""The promise of the recipes: apart from the algorithm's own arithmetic, a round costs as much as FedAvg's."""

from __future__ import annotations

from collections.abc import Iterator

from runner import HERE, Row, Runner

RECIPES = HERE / "recipes"
SITES = 5  # the minimum for Krum to detect one faulty site
# Names and baselines of the recipes; see BASELINES in recipes/compare.py.
NAMES = {
    "again": ("FedAvg once more, to show the noise", "FedAvg"),
    "quorum": ("FedAvg, quorum of all", "FedAvg"),
    "sgd": ("FedOpt, SGD with momentum", "FedAvg"),
    "adam": ("FedOpt, Adam", "FedAvg"),
    "scaffold": ("SCAFFOLD", "FedAvg, model of twice the size"),
    "cyclic": ("Cyclic", f"{SITES} rounds of FedAvg at one site"),
    "fedeval": ("FedEval", "FedAvg"),
    "crosssite": ("CrossSiteEval", f"{SITES + 1} rounds of FedEval, {SITES} of FedAvg at one site"),
    "swarm": ("SwarmLearning", "a round of FedAvg, 2 at one site, no array inside a message"),
    "median": ("FedAvg, median", "FedAvg"),
    "trimmed": ("FedAvg, trimmed mean", "FedAvg"),
    "krum": ("FedAvg, Krum", "FedAvg"),
}


def recipes(runner: Runner) -> Iterator[Row]:
    """A round of each recipe against FedAvg's, without training, in SimEnv; the jobs' rounds take turns."""
    yield from _recipes(runner, "4 KiB", tensors=4, items=256, rounds=5, lots=5 * runner.repeat)
    yield from _recipes(runner, "20 MiB", tensors=20, items=1 << 18, rounds=1, lots=2 * runner.repeat)


def _recipes(runner: Runner, size: str, *, tensors: int, items: int, rounds: int, lots: int) -> Iterator[Row]:
    command = (RECIPES / "compare.py", runner.folder, SITES, tensors, items, rounds, lots)
    measured = runner.run(f"all recipes, {size}", *command, cwd=RECIPES)
    for name, (what, baseline) in NAMES.items():
        taken, own, beside = (1000 * measured.printed(f"{name}.{part}") for part in ("round", "own", "baseline"))
        ratio, low, high = (measured.printed(f"{name}.{part}") for part in ("ratio", "low", "high"))
        yield Row(
            f"{what}, {size}: a round",
            {
                "flare": f"{taken:.2f} ms, of which its own arithmetic {own:.2f} ms" if own else f"{taken:.2f} ms",
                "baseline": f"{baseline}: {beside:.2f} ms",
                "ratio": f"{ratio:.2f} ({low:.2f}–{high:.2f}); processor {measured.printed(f'{name}.processor'):.2f}",
            },
            "≤ 1.2 × baseline + own arithmetic",
            ratio <= 1.2,
        )


SUITES = {"recipes": recipes}
