"""The folder of a simulated run."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flare_edge.device.safetensors import dumps
from flare_edge.virtual.comparing import Compared, Comparison
from flare_edge.virtual.history import History

INPUTS = "inputs.jsonl"
"""The record of what the server was told and has decided; ``flare edge replay`` reads it."""


def write_results(history: History, folder: Path, title: str, arguments: dict[str, Any]) -> list[Path]:
    """Write what has happened in a run.

    Args:
        history: of the run.
        folder: must exist.
        title: what was run.
        arguments: with which it was run; JSON values.
    Returns:
        The files: ``summary.json``, ``versions.csv``, ``global_model.safetensors`` if there is a model, and ``run.svg``
        if matplotlib is installed.
    """
    files = [folder / "summary.json", folder / "versions.csv"]
    text = json.dumps({"title": title, **summary(history), "arguments": arguments}, indent=2)
    files[0].write_text(text + "\n", encoding="utf-8")
    _write_versions(history, files[1])
    if history.params:
        files.append(folder / "global_model.safetensors")
        files[-1].write_bytes(dumps(history.params))
    if history.versions and find_spec("matplotlib") is not None:
        from flare_edge.virtual.plots import draw_run

        files.append(folder / "run.svg")
        draw_run(history, title, files[-1])
    return files


def write_comparison(compared: Compared, comparison: Comparison, folder: Path, title: str) -> list[Path]:
    """Write the result of a comparison.

    Args:
        compared: the result.
        comparison: what was compared.
        folder: must exist.
        title: what was compared, in words.
    Returns:
        The files: ``comparison.json``, ``comparison.md``, and ``comparison.svg`` if matplotlib is installed.
    """
    files = [folder / "comparison.json", folder / "comparison.md"]
    methods = {
        method: {
            "global_lr": compared.factors[method],
            "times_as_long": compared.speedups()[method],
            "runs": [summary(history) for history in runs],
        }
        for method, runs in compared.histories.items()
    }
    arguments = {**asdict(comparison), "seeds": list(comparison.seeds)}
    text = json.dumps({"title": title, "comparison": arguments, "methods": methods}, indent=2)
    files[0].write_text(text + "\n", encoding="utf-8")
    files[1].write_text(f"{title}; accuracy {comparison.accuracy:g}\n\n{compared.table()}", encoding="utf-8")
    if find_spec("matplotlib") is not None:
        from flare_edge.virtual.plots import draw_comparison

        files.append(folder / "comparison.svg")
        draw_comparison(compared.histories, ("accuracy", comparison.accuracy), title, files[-1])
    return files


def summary(history: History) -> dict[str, Any]:
    """Return the numbers of a run as JSON values."""
    last = history.versions[-1] if history.versions else None
    return {
        "outcome": history.outcome,
        "simulated_seconds": history.seconds,
        "reached_target_after_seconds": history.reached,
        "versions": len(history.versions),
        "metrics": {} if last is None else dict(last.metrics),
        "mean_age": history.mean_age,
        "check_ins": history.check_ins,
        "orders": history.orders,
        "results": history.results,
        "failures": history.failures,
        "withdrawn": history.withdrawn,
        "dropped_updates": dict(history.dropped),
        "wall_seconds": history.wall_s,
    }


def _write_versions(history: History, path: Path) -> None:
    trained = sorted({name for each in history.versions for name in each.trained})
    metrics = sorted({name for each in history.versions for name in each.metrics})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = ["version", "seconds", "updates", "mean_age", "max_age"]
        writer.writerow([*columns, *(f"trained_{name}" for name in trained), *metrics])
        for each in history.versions:
            mean_age = sum(age * number for age, number in each.ages.items()) / each.count
            measured = [each.trained.get(name, "") for name in trained] + [
                each.metrics.get(name, "") for name in metrics
            ]
            writer.writerow([each.version, each.time, each.count, mean_age, max(each.ages), *measured])
