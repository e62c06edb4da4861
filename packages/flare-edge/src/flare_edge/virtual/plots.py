"""Plots of simulated runs, as SVG by matplotlib (extra ``simulation``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_edge.errors import EdgeError
from flare_edge.virtual.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, GREEN = "#1f6feb", "#d9730d", "#8b949e", "#2da44e"
COLOURS = (BLUE, ORANGE, GREEN, GREY)

_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def draw_run(history: History, title: str, path: Path, *, metric: str = "accuracy") -> None:
    """Draw versions, staleness, devices at work and a metric over simulated time.

    Args:
        history: of the run.
        title: what was run.
        path: the SVG file to write.
        metric: the name of the metric.
    Raises:
        EdgeError: matplotlib is not installed.
    """
    unit, name = _unit(history.seconds)
    times = [each.time / unit for each in history.versions]
    with _figure(path, 2, 2) as (figure, axes):
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        (versions, staleness), (devices, quality) = axes
        _title(versions, "version of the model")
        versions.step([0, *times], [0, *(each.version for each in history.versions)], where="post", color=BLUE)
        _title(staleness, "age of the updates in a version, in versions")
        _staleness(staleness, history, times)
        _title(devices, "devices")
        for samples, label, colour in (
            (history.there, "there", GREY),
            (history.in_flight, "at work", BLUE),
        ):
            devices.step(
                [each / unit for each in samples.times], samples.values, where="post", color=colour, label=label
            )
        devices.legend(frameon=False, loc="best")
        devices.set_ylim(bottom=0)
        measured = [each for each in history.versions if metric in each.metrics]
        _title(quality, metric)
        quality.plot([each.time / unit for each in measured], [each.metrics[metric] for each in measured], color=GREEN)
        for each in (versions, staleness, devices, quality):
            each.set_xlim(0, history.seconds / unit or 1)
            each.set_xlabel(f"simulated {name}")


def draw_comparison(
    histories: Mapping[str, Sequence[History]], target: tuple[str, float], title: str, path: Path
) -> None:
    """Draw a metric over simulated time of several methods, a line for each seed.

    Args:
        histories: by method.
        target: the metric, and the value that was to be reached.
        title: what was compared.
        path: the SVG file to write.
    Raises:
        EdgeError: matplotlib is not installed.
    """
    metric, value = target
    unit, name = _unit(max(each.seconds for runs in histories.values() for each in runs) / 20)
    with _figure(path, 1, 2) as (figure, axes):
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        curves, bars = axes
        _title(curves, f"{metric}, a line for each seed")
        _title(bars, f"{name} until {metric} is {value:g}, a dot for each seed")
        for row, ((method, runs), colour) in enumerate(zip(histories.items(), COLOURS, strict=False)):
            for history in runs:
                measured = [each for each in history.versions if metric in each.metrics]
                times = [each.time / unit for each in measured]
                curves.plot(times, [each.metrics[metric] for each in measured], color=colour, linewidth=0.9)
            _bar(bars, row, method, [each.seconds / unit for each in runs], all(each.reached for each in runs), colour)
        curves.axhline(value, color=GREY, linewidth=0.8, linestyle="--")
        curves.set_xscale("log")
        curves.xaxis.set_major_formatter("{x:g}")
        curves.set_xlabel(f"simulated {name}, logarithmic")
        bars.set_yticks([])
        bars.set_ylim(len(histories) - 0.5, -0.75)
        bars.margins(x=0.15)
        bars.set_xlim(left=0)
        bars.set_xlabel(f"simulated {name}")


def _bar(axes: Axes, row: int, method: str, times: Sequence[float], all_reached: bool, colour: str) -> None:
    """Draw the mean of times as a bar with the times as dots; hollow ones if some are lower bounds."""
    mean = sum(times) / len(times)
    axes.barh(row, mean, color=colour, alpha=0.35, height=0.5)
    axes.plot(times, [row] * len(times), "o", color=colour, markersize=4, fillstyle="full" if all_reached else "none")
    text = f"{mean:.3g}" if all_reached else f"> {mean:.3g}"
    axes.annotate(text, (max(*times, mean), row), (7, 0), textcoords="offset points", va="center")
    axes.annotate(method, (0, row - 0.25), (3, 6), textcoords="offset points", va="center", fontsize=9)


def _staleness(axes: Axes, history: History, times: Sequence[float]) -> None:
    """Draw the mean over the last versions, and the smallest and largest age of each version."""
    low = [min(each.ages) for each in history.versions]
    high = [max(each.ages) for each in history.versions]
    axes.fill_between(times, low, high, step="mid", color=BLUE, alpha=0.2, linewidth=0, label="all")
    sums = list(accumulate((sum(age * n for age, n in each.ages.items()) for each in history.versions), initial=0))
    counts = list(accumulate((each.count for each in history.versions), initial=0))
    window = max(len(times) // 40, 1)
    starts = [max(end - window, 0) for end in range(1, len(times) + 1)]
    means = [(sums[end] - sums[start]) / (counts[end] - counts[start]) for end, start in enumerate(starts, 1)]
    axes.plot(times, means, color=BLUE, label="mean")
    axes.legend(frameon=False, loc="best")
    axes.set_ylim(bottom=0)


def _unit(seconds: float) -> tuple[float, str]:
    """Return a unit of time in which a duration is at least 3."""
    return next(((unit, name) for unit, name in _UNITS if seconds >= 3 * unit), _UNITS[-1])


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


@contextmanager
def _figure(path: Path, rows: int, columns: int) -> Iterator[tuple[Figure, Any]]:
    """Give a figure with its axes, and write it; the same drawing gives the same bytes."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EdgeError("plots need matplotlib: pip install 'flare-edge[simulation]'") from error
    style: Any = {
        "font.family": "sans-serif",
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "flare",
        "axes.grid": True,
        "grid.color": "#e5e7eb",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.edgecolor": GREY,
        "lines.linewidth": 1.4,
    }
    with rc_context(style):
        figure = Figure(figsize=(5 * columns, 2.9 * rows + 0.3), layout="constrained")
        yield figure, figure.subplots(rows, columns)
        figure.savefig(path, format="svg", metadata={"Date": None})
