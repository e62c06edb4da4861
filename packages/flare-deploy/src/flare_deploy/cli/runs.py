"""``flare runs``: list, show and compare the runs of a workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from fnmatch import fnmatch
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flare_deploy.cli.output import Form, FormOption, moment, show, table

if TYPE_CHECKING:
    from flare_runtime.run.comparison import Comparison
    from flare_runtime.run.recorded import RecordedRun

app = typer.Typer(help="List, show and compare the runs of a workspace.", invoke_without_command=True)

COLUMNS = ("run", "started", "status", "rounds", "sites", "seconds", "best")
MAX_ROWS = 12  # of a table by round
MAX_METRICS = 12
MAX_CELL = 40  # characters
PLOT_WIDTH = 60

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="The folder of the runs; by default $FLARE_WORKSPACE, else ./flare-runs.",
        show_default=False,
    ),
]


class Status(StrEnum):
    """The status of a run."""

    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"
    UNFINISHED = "unfinished"


@app.callback()
def list_them(
    context: typer.Context,
    job: Annotated[
        str | None,
        typer.Option(
            "--job", "-j", help="Only runs of jobs with this name; * and ? are wildcards.", show_default=False
        ),
    ] = None,
    status: Annotated[
        Status | None,
        typer.Option(
            help="Only runs with this status; unfinished ones are still running, or were killed.", show_default=False
        ),
    ] = None,
    last: Annotated[
        int | None, typer.Option(help="Only this many of the newest runs.", min=1, show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """List, show and compare the runs of a workspace."""
    if context.invoked_subcommand is not None:
        return
    runs = [
        run
        for run in _runs(workspace)
        if (job is None or fnmatch(run.job, job)) and (status is None or run.status == status.value)
    ][:last]
    rows = [_row(run) for run in runs]
    root = _root(workspace)
    is_filtered = job is not None or status is not None
    empty = f"no run in {root} matches" if is_filtered else f"no runs in {root} yet; see also --workspace"
    text = table(COLUMNS, rows, empty=empty)
    show(form, [_values(run) for run in runs], f"{text}\nin {root}" if rows else text)


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="The id or folder of a run, or the name of a job for its newest run.")],
    workspace: WorkspaceOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Show the parameters of a run, how it ended, and where its models are."""
    from flare_runtime.run.recorded import find_run

    found = find_run(run, _runs(workspace))
    show(form, _values(found), _run_text(found))


@app.command("compare")
def compare_runs(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs: ids, folders, or names of jobs.")],
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="The metric to show by round.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Show the parameters in which runs differ, and their metrics side by side."""
    from flare_runtime.run.comparison import compare
    from flare_runtime.run.recorded import find_run

    if len(runs) < 2:
        raise typer.BadParameter("give two or more runs; 'flare runs' lists them")
    there = _runs(workspace)
    comparison = compare([find_run(name, there) for name in runs])
    if metric is not None and metric not in comparison.curves:
        known = ", ".join(comparison.curves) or "none"
        raise typer.BadParameter(f"none of these runs has the metric {metric!r}; they have {known}")
    shown = metric or comparison.metric()
    values = {
        "runs": [_values(run) for run in comparison.runs],
        "differences": comparison.differences,
        "metric": shown,
        "metrics": {key: [_curve_values(each) for each in curves] for key, curves in comparison.curves.items()},
    }
    show(form, values, _comparison_text(comparison, shown))


def _root(workspace: Path | None) -> Path:
    from flare_runtime.run.folder import default_workspace

    return default_workspace() if workspace is None else workspace.expanduser().absolute()


def _runs(workspace: Path | None) -> list[RecordedRun]:
    from flare_runtime.run.recorded import list_runs

    if workspace is not None and not _root(workspace).is_dir():
        raise typer.BadParameter(f"{workspace} is not a folder; give the folder of the runs to --workspace")
    return list_runs(_root(workspace))


def _values(run: RecordedRun) -> dict[str, Any]:
    """Return a run as JSON values."""
    from flare_runtime.run.record import strict

    models = {name: str(path) for name, path in run.models.items()}
    values: dict[str, Any] = strict({**asdict(run), "folder": str(run.folder), "models": models})
    return values


def _curve_values(curve: Mapping[int, float]) -> dict[str, Any]:
    rounds = [{"round": round_, "value": value} for round_, value in sorted(curve.items())]
    return {
        "final": rounds[-1]["value"] if rounds else None,
        "lowest": min(rounds, key=itemgetter("value"), default=None),
        "highest": max(rounds, key=itemgetter("value"), default=None),
        "rounds": rounds,
    }


def _row(run: RecordedRun) -> list[Any]:
    """Return the values of a run in a table with :data:`COLUMNS`."""
    return [run.id, moment(run.started), run.status, run.rounds, len(run.sites), _seconds(run), _score(run)]


def _seconds(run: RecordedRun) -> str:
    return "-" if run.seconds is None else f"{run.seconds:.1f}"


def _score(run: RecordedRun) -> str:
    """Return a run's best value, or its last one."""
    if run.best:
        return f"{run.key_metric} {run.best['value']:.4g} (round {run.best['round']})"
    if run.key_metric in run.metrics:
        return f"{run.key_metric} {run.metrics[str(run.key_metric)]:.4g} (last)"
    return "-"


def _run_text(run: RecordedRun) -> str:
    from flare_runtime.run.comparison import parameters

    lines = [
        ("run", run.id),
        ("status", run.status),
        ("reason", (run.error or "").partition("\n")[0]),
        ("started", moment(run.started)),
        ("seconds", _seconds(run)),
        ("rounds", run.rounds),
        ("sites", f"{len(run.sites)}: {', '.join(run.sites[:10])}{', …' if len(run.sites) > 10 else ''}"),
        ("best", _score(run)),
        *((f"{name} model", path) for name, path in run.models.items()),
        ("folder", run.folder),
    ]
    about = "\n".join(f"{label:<12} {value}" for label, value in lines if value != "")
    rows = [[name, _cell(value)] for name, value in parameters(run.recipe).items()]
    return f"{about}\n\n{table(['parameter', 'value'], rows, empty='the parameters were not recorded')}"


def _comparison_text(comparison: Comparison, metric: str | None) -> str:
    runs = comparison.runs
    labels = [chr(ord("A") + index) if len(runs) <= 26 else str(index + 1) for index in range(len(runs))]
    about = [[label, *_row(run)] for label, run in zip(labels, runs, strict=True)]
    parts = [table(["", *COLUMNS], about, empty="")]
    differing = [[name, *map(_cell, values)] for name, values in comparison.differences.items()]
    unknown = [label for label, run in zip(labels, runs, strict=True) if not run.recipe]
    none = f"parameters of {', '.join(unknown)} were not recorded" if unknown else "equal parameters and code"
    parts.append(table(["parameter", *labels], differing, empty=none))
    if metric is not None:
        parts += [_metrics_table(comparison, metric, labels), _rounds_table(comparison.curves[metric], metric, labels)]
        parts.append(_plots(comparison.curves[metric], metric, labels))
    models = [[label, name, path] for label, run in zip(labels, runs, strict=True) for name, path in run.models.items()]
    parts.append(table(["", "model", "file"], models, empty="no run has a model"))
    return "\n\n".join(part for part in parts if part)


def _metrics_table(comparison: Comparison, metric: str, labels: Sequence[str]) -> str:
    """Return a table of the last, lowest and highest value of each metric, the compared one first."""
    names = sorted(comparison.curves, key=lambda name: (name != metric, name))
    rows: list[list[str]] = []
    for name in names[:MAX_METRICS]:
        values = [_curve_values(curve) for curve in comparison.curves[name]]
        rows.append([name, "last", *(_number(each["final"]) for each in values)])
        for which in ("lowest", "highest"):
            rows.append(["", which, *(_at_round(each[which]) for each in values)])
    more = len(names) - MAX_METRICS
    return table(["metric", "", *labels], rows, empty="") + (f"\nand {more} more metrics" if more > 0 else "")


def _rounds_table(curves: Sequence[Mapping[int, float]], metric: str, labels: Sequence[str]) -> str:
    rounds = sorted({round_ for curve in curves for round_ in curve})
    shown = [rounds[index * (len(rounds) - 1) // (MAX_ROWS - 1)] for index in range(MAX_ROWS)]
    rows = [
        [round_, *(_number(curve.get(round_)) for curve in curves)]
        for round_ in (rounds if len(rounds) <= MAX_ROWS else shown)
    ]
    some = f", {MAX_ROWS} of {len(rounds)} rounds" if len(rounds) > MAX_ROWS else ""
    return f"{metric} by round{some}\n" + table(["round", *labels], rows, empty="")


def _plots(curves: Sequence[Mapping[int, float]], metric: str, labels: Sequence[str]) -> str:
    """Return a plot for each run, all with the same axes."""
    from flare_runtime.display import plot

    values = [value for curve in curves for value in curve.values()]
    bounds = (min(values), max(values))
    longest = max(map(len, curves))
    drawn = [
        "\n".join(
            plot(
                sorted(curve.items()),
                title=f"{label}  {metric}",
                width=max(1, PLOT_WIDTH * len(curve) // longest),  # so that a round has the same width in all plots
                height=4,
                bounds=bounds,
            )
        )
        for label, curve in zip(labels, curves, strict=True)
        if len(curve) > 1
    ]
    return "\n".join(drawn)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _at_round(value: Mapping[str, Any] | None) -> str:
    return "-" if value is None else f"{value['value']:.5g} (round {value['round']})"


def _cell(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"
