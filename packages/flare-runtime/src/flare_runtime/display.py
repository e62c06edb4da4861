"""The display of a run: live on a terminal, one line per round elsewhere, and a summary at the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

from flare_core.events import EventBus, RoundEnded, RoundStarted, SiteReplied, StillWaiting, TableMade, WarningRaised
from flare_runtime.terminal import one_line, printable

MAX_METRICS = 4
MAX_WARNINGS = 5


class Display:
    """A display that prints one line per round."""

    def __init__(self, job_name: str, sites: int, stream: TextIO) -> None:
        self._stream = stream
        self.note(f"{job_name}: {count(sites, 'site')}")

    def attach(self, events: EventBus) -> None:
        """Show the events of a run from now on."""
        events.subscribe(RoundEnded, self.round_ended)
        events.subscribe(TableMade, lambda event: self.note(table_text(event)))
        events.subscribe(StillWaiting, self._still_waiting)
        events.subscribe(WarningRaised, lambda event: self.note(f"warning: {event.message}"))

    def round_ended(self, event: RoundEnded) -> None:
        """Show the end of a round."""
        self.note(round_line(event))

    def _still_waiting(self, event: StillWaiting) -> None:
        self.note(f"still waiting after {event.seconds:.0f} s for {event.what}")

    def close(self) -> None:
        """Remove everything that is redrawn."""

    def note(self, text: str) -> None:
        """Show a line of text."""
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()


class LiveDisplay(Display):
    """A progress bar of rounds with the sites that have replied and the latest metrics; rounds do not scroll by."""

    def __init__(self, job_name: str, sites: int, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(file=stream)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[sites]}"),
            TextColumn("[cyan]{task.fields[metrics]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._bar = self._progress.add_task(job_name, total=None, sites=f"{sites} sites", metrics="starting")
        self._progress.start()

    def attach(self, events: EventBus) -> None:
        super().attach(events)
        events.subscribe(RoundStarted, self._round_started)
        events.subscribe(SiteReplied, self._site_replied)

    def round_ended(self, event: RoundEnded) -> None:
        from rich.markup import escape

        self._progress.update(
            self._bar, completed=event.round + 1, metrics=escape(one_line(metrics_text(event.metrics)))
        )

    def close(self) -> None:
        self._progress.stop()

    def _round_started(self, event: RoundStarted) -> None:
        self._progress.update(self._bar, total=event.total_rounds)

    def _site_replied(self, event: SiteReplied) -> None:
        self._progress.update(self._bar, sites=f"{event.done}/{event.expected} sites")

    def note(self, text: str) -> None:
        self._console.print(printable(text), highlight=False, markup=False)


def open_display(job_name: str, sites: int, stream: TextIO | None = None) -> Display:
    """Return a display that suits the stream, which is stdout by default."""
    stream = stream or sys.stdout
    return (LiveDisplay if stream.isatty() else Display)(job_name, sites, stream)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner with a text during the block, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Format the first few metrics."""
    shown = [f"{key} {value:.4g}" for key, value in list(metrics.items())[:MAX_METRICS]]
    return "  ".join(shown + (["…"] if len(metrics) > MAX_METRICS else []))


def round_line(event: RoundEnded) -> str:
    """Format the end of a round as one line."""
    text = f"round {event.round} ({event.round + 1} of {event.total_rounds})  {metrics_text(event.metrics)}"
    return f"{text.rstrip()}  {event.seconds:.2f} s"


def table_text(table: TableMade) -> str:
    """Format a table, with names aligned left and numbers aligned right."""
    rows = [table.columns, *table.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join([table.title, *(f"  {line}" for line in lines)])


def summary_text(summary: Mapping[str, Any], curve: Sequence[tuple[int, float]]) -> str:
    """Format the end of a run on one screen: outcome, best round, a plot of the metric, and the paths of results."""
    best = summary.get("best")
    lines = [
        f"{summary['outcome'].upper()}  {summary['job']}: {count(summary['rounds'], 'round')}"
        f" in {summary['seconds']:.1f} s"
    ]
    if summary.get("error"):
        lines.append(f"because   {_headline(str(summary['error']))}")
    warnings = summary.get("warnings", ())
    lines += [f"warning   {_headline(text)}" for text in warnings[:MAX_WARNINGS]]
    if len(warnings) > MAX_WARNINGS:
        lines.append(f"          … and {len(warnings) - MAX_WARNINGS} more in summary.json")
    if best:
        lines.append(f"best      round {best['round']}: {summary['key_metric']} {best['value']:.4g}")
    if len(curve) > 1:
        lines += ["", *plot(curve, title=str(summary["key_metric"])), ""]
    rounds = summary["bytes"]["rounds"]
    if rounds:
        sent, received = (sum(each[way] for each in rounds) / len(rounds) for way in ("sent", "received"))
        lines.append(f"traffic   a round: {size_text(sent)} to the sites, {size_text(received)} from them")
    for label, key in (("model", "global_model"), ("best", "best_model"), ("folder", "folder")):
        if summary.get(key):
            lines.append(f"{label:<9} {_short_path(summary[key])}")
    return "\n".join(lines)


def _headline(error: str) -> str:
    """Return the first line; the rest is a traceback, which is in the site's log.txt and in the exception."""
    return error.strip().partition("\n")[0]


def size_text(count: float) -> str:
    """Format a number of bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1000 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"


def count(number: int, thing: str) -> str:
    """Format a number with its noun, in singular or plural."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _short_path(path: str) -> str:
    """Return a path relative to the working folder, if it is below it."""
    place, here = Path(path), Path.cwd()
    return str(place.relative_to(here)) if place.is_relative_to(here) else path


def plot(
    curve: Sequence[tuple[int, float]],
    *,
    title: str,
    width: int = 60,
    height: int = 6,
    bounds: tuple[float, float] | None = None,
) -> list[str]:
    """Draw a curve with block characters; one column is a point, or the mean of several.

    Args:
        curve: rounds and values; values that are not finite are left out, and counted in the title.
        title: the title.
        width: the maximal number of columns.
        height: the number of lines.
        bounds: the lowest and highest value of the axis; by default those of the curve.
    """
    finite = [(round_, value) for round_, value in curve if math.isfinite(value)]
    left_out = len(curve) - len(finite)
    head = f"{title:>9} by round" + (
        f" ({count(left_out, 'round')} without a finite value left out)" if left_out else ""
    )
    if not finite:
        return [head]
    values = _columns([value for _, value in finite], width)
    low, high = bounds or (min(values), max(values))
    span = (high - low) or 1.0
    levels = [1 + round(min(1.0, max(0.0, (value - low) / span)) * (height * 8 - 1)) for value in values]
    rows = []
    for row in range(height - 1, -1, -1):
        cells = "".join(" ▁▂▃▄▅▆▇█"[max(0, min(8, level - row * 8))] for level in levels)
        label = f"{high:.4g}" if row == height - 1 else f"{low:.4g}" if row == 0 else ""
        if high == low and row == height - 1:
            label = ""  # a flat curve needs one label only
        rows.append(f"{label:>9} ┤{cells}")
    first, last = finite[0][0], finite[-1][0]
    return [
        head,
        *rows,
        f"{'':>9} └{'─' * len(values)}",
        f"{'':>11}{first}{last!s:>{max(1, len(values) - len(str(first)))}}",
    ]


def _columns(values: list[float], width: int) -> list[float]:
    if len(values) <= width:
        repeat = max(1, min(6, width // len(values)))
        return [value for value in values for _ in range(repeat)]
    edges = [index * len(values) // width for index in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
