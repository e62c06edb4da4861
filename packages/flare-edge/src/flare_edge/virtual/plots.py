"""Plots of simulated runs, as SVG by matplotlib (extra ``simulation``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_edge.errors import EdgeError
from flare_edge.virtual.history import History, VersionMade

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, GREEN = "#1f6feb", "#d9730d", "#8b949e", "#2da44e"
COLOURS = (BLUE, ORANGE, GREEN, GREY)

_POINTS = 200
"""Resolution of the plots."""

_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def draw_run(history: History, title: str, path: Path, *, metric: str = "accuracy", clock: str = "simulated ") -> None:
    """Draw versions, staleness, devices at work and a metric over simulated time.

    Args:
        history: of the run.
        title: what was run.
        path: the SVG file to write.
        metric: the name of the metric.
        clock: a word before the unit of time, and a space.
    Raises:
        EdgeError: matplotlib is not installed.
    """
    unit, name = _unit(history.seconds)
    made = history.versions[:: -(-len(history.versions) // (5 * _POINTS)) or 1]
    with _figure(path, 2, 2) as (figure, axes):
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        (versions, staleness), (devices, quality) = axes
        _title(versions, "version of the model")
        times, numbers = [each.time / unit for each in made], [each.version for each in made]
        versions.step(
            [0, *times, history.seconds / unit], [0, *numbers, len(history.versions)], where="post", color=BLUE
        )
        _title(staleness, "age of the updates in a version, in versions")
        _staleness(staleness, history.versions, unit)
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
        _title(quality, metric)
        quality.plot(*_curve(history.versions, metric, unit), color=GREEN)
        for each in (versions, staleness, devices, quality):
            each.set_xlim(0, history.seconds / unit or 1)
            each.set_xlabel(f"{clock}{name}")


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
                curves.plot(*_curve(history.versions, metric, unit), color=colour, linewidth=0.9)
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


def _staleness(axes: Axes, versions: Sequence[VersionMade], unit: float) -> None:
    """Draw the mean age, and the smallest and largest, of some versions each."""
    size = -(-len(versions) // _POINTS) or 1
    blocks = [versions[start : start + size] for start in range(0, len(versions), size)]
    times = [block[-1].time / unit for block in blocks]
    low = [min(min(each.ages) for each in block) for block in blocks]
    high = [max(max(each.ages) for each in block) for block in blocks]
    axes.fill_between(times, low, high, step="pre", color=BLUE, alpha=0.2, linewidth=0, label="all")
    wide = [versions[max(end - 5 * size, 0) : end] for end in range(size, len(versions) + size, size)]
    means = [
        sum(age * count for each in block for age, count in each.ages.items()) / sum(each.count for each in block)
        for block in wide
    ]
    axes.plot(times, means, color=BLUE, label="mean")
    axes.legend(frameon=False, loc="best")
    axes.set_ylim(0, None if max(high, default=0) else 1)


def _curve(versions: Sequence[VersionMade], metric: str, unit: float) -> tuple[list[float], list[float]]:
    """Return the times and values of a metric, of some versions at equal distances, and of the last."""
    measured = [each for each in versions if metric in each.metrics]
    step = -(-len(measured) // (5 * _POINTS)) or 1
    shown = measured[::step] if not measured or measured[-1] in measured[::step] else [*measured[::step], measured[-1]]
    return [each.time / unit for each in shown], [each.metrics[metric] for each in shown]


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
