"""The promises of federated statistics, beside the passes that pandas and Polars make over the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from measure import MIB, Measured
from runner import HERE, Row, Runner, median, spread

STATS = HERE / "stats"
SITES = 10
ROWS, MANY_ROWS = 1_000_000, 4_000_000
PLAIN = {"polars": "Polars", "pandas": "pandas"}


def summaries(runner: Runner) -> Iterator[Row]:
    """Statistics of 10 sites with 1,000,000 rows of 20 columns each, against the sites' own passes."""
    runner.run("rows", STATS / "files.py", runner.folder, SITES, ROWS, cwd=STATS)
    runner.run("more rows", STATS / "files.py", runner.folder, 1, MANY_ROWS, cwd=STATS)
    laps = [{"flare": _pass(runner), **{name: _plain(runner, name, 1) for name in PLAIN}} for _ in range(runner.repeat)]
    yield _own_pass("rows in memory", "memory", laps)
    yield _own_pass("rows of a Parquet file", "pass", laps)
    laps = [
        {"flare": _job(runner, SITES, ROWS), **{name: _plain(runner, name, SITES) for name in PLAIN}}
        for _ in range(runner.repeat)
    ]
    yield _together(laps)
    yield Row(
        f"{SITES} sites: processor time of all processes",
        {
            "flare": f"{median([lap['flare'].cpu for lap in laps]):.1f} s",
            "baseline": ", ".join(f"{PLAIN[name]} {median([lap[name].cpu for lap in laps]):.1f} s" for name in PLAIN),
            "ratio": spread([lap["flare"].cpu / min(lap[name].cpu for name in PLAIN) for lap in laps]),
        },
    )
    yield _difference(runner)
    yield _memory(runner)


def _own_pass(what: str, printed: str, laps: list[dict[str, Measured]]) -> Row:
    """One site's pass, against the faster of the other two."""
    seconds = {name: [lap[name].printed(printed) for lap in laps] for name in laps[0]}
    faster = min(PLAIN, key=lambda name: median(seconds[name]))
    ratios = [ours / other for ours, other in zip(seconds["flare"], seconds[faster], strict=True)]
    return Row(
        f"one site, {what}: processor time of the pass",
        {
            "flare": f"{median(seconds['flare']):.2f} s",
            "baseline": ", ".join(f"{PLAIN[name]} {median(seconds[name]):.2f} s" for name in PLAIN),
            "ratio": spread(ratios),
        },
        f"≤ 1.5 × {PLAIN[faster]}",
        median(ratios) <= 1.5,
    )


def _together(laps: list[dict[str, Measured]]) -> Row:
    walls = {name: median([lap[name].wall for lap in laps]) for name in laps[0]}
    faster = min(PLAIN, key=walls.__getitem__)
    return Row(
        f"{SITES} sites: from shell to exit",
        {
            "flare": f"{walls['flare']:.1f} s",
            "baseline": ", ".join(f"{PLAIN[name]} {walls[name]:.1f} s" for name in PLAIN),
            "ratio": spread([lap["flare"].wall / lap[faster].wall for lap in laps]),
        },
        f"≤ 1.5 × {PLAIN[faster]} + 2 s",
        walls["flare"] <= 1.5 * walls[faster] + 2,
    )


def _difference(runner: Runner) -> Row:
    """How far each site's statistics are from those of pandas on its rows."""
    found = json.loads((runner.folder / "statistics.json").read_text())
    names = {"count": "count", "missing": "missing", "min": "min", "max": "max", "mean": "mean", "stddev": "std"}
    worst = 0.0
    for site in range(1, SITES + 1):
        plain = json.loads(Path(runner.folder, f"pandas-{site}.json").read_text())
        for feature, values in plain.items():
            for ours, theirs in names.items() if feature != "kind" else ():
                one, other = found[feature][ours][f"site-{site}"]["train"], values[theirs]
                worst = max(worst, abs(one - other) / max(abs(other), 1e-300) if one != other else 0.0)
    return Row(
        "counts, ranges, means and deviations: largest relative difference from pandas",
        {"flare": f"{worst:.1e}"},
        "≤ 1e-12",
        worst <= 1e-12,
    )


def _memory(runner: Runner) -> Row:
    few, many = (_job(runner, 1, rows, weigh=True).peaks[0] for rows in (ROWS, MANY_ROWS))
    size = (runner.folder / f"site-1-{MANY_ROWS}.parquet").stat().st_size
    return Row(
        f"one site, {MANY_ROWS:,} rows of a Parquet file of {size / MIB:.0f} MiB: memory of the largest process",
        {"flare": f"{many / MIB:.0f} MiB, with {ROWS:,} rows {few / MIB:.0f} MiB", "ratio": f"{many / few:.2f}"},
        "≤ 1.1 × a quarter of the rows",
        many <= 1.1 * few,
    )


def _pass(runner: Runner) -> Measured:
    return runner.run(f"flare, a pass of {ROWS:,} rows", STATS / "flare_pass.py", runner.folder, ROWS, cwd=STATS)


def _plain(runner: Runner, name: str, sites: int) -> Measured:
    label = f"{PLAIN[name]}, sites: {sites}, {ROWS:,} rows each"
    return runner.run(label, STATS / "plain.py", name, runner.folder, sites, ROWS, cwd=STATS)


def _job(runner: Runner, sites: int, rows: int, *, weigh: bool = False) -> Measured:
    label = f"flare, sites: {sites}, {rows:,} rows each"
    return runner.run(label, STATS / "flare_job.py", runner.folder, sites, rows, cwd=STATS, weigh=weigh)


SUITES = {"stats": summaries}
