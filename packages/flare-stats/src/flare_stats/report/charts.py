"""Figures as SVG without a script: histograms, box strips, bars and the heat map of correlations.

Colours are classes of the style sheet. A figure has a label that describes it, or it stands beside the numbers that it
shows and is hidden from screen readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flare_stats.report.data import BinnedCounts
from flare_stats.report.html import Html, figure, percent, tag

WIDTH, HEIGHT = 240, 72
STRIP_WIDTH, STRIP_HEIGHT = 140, 16
CELL = 14
NARROWEST = 1e-9  # width of a bin, as a share of all


@dataclass(frozen=True, slots=True)
class Range:
    """The part of the number line that a figure shows."""

    low: float
    high: float

    @property
    def unit(self) -> float:
        """A number by which values are divided before they are subtracted, so that neither overflows nor vanishes."""
        return max(abs(self.low), abs(self.high)) or 1.0

    def position(self, value: float, width: float) -> float:
        """Return where ``value`` lies, from 0 to ``width``."""
        span = self.high / self.unit - self.low / self.unit
        share = (value / self.unit - self.low / self.unit) / span if span > 0 else 0.5
        return min(max(share, 0.0), 1.0) * width


def histogram(shown: BinnedCounts, outline: BinnedCounts | None, span: Range, highest: float, label: str) -> Html:
    """Draw a histogram as bars, with the outline of another over it.

    Args:
        shown: drawn as bars.
        outline: drawn as a line of steps.
        span: of the horizontal axis, common to all figures that are compared.
        highest: density at the top of the figure, common to them, too.
        label: what the figure shows, in words.
    """
    bars = tag("path", class_="bars", d=Html(_bars(shown, span, highest)))
    line = None if outline is None else tag("path", class_="outline", d=Html(_steps(outline, span, highest)))
    base = tag("path", class_="base", d=f"M0 {HEIGHT}.5H{WIDTH}")
    return tag(
        "svg", bars, line, base, viewBox=f"0 0 {WIDTH} {HEIGHT + 1}", role="img", aria_label=label, class_="histogram"
    )


def densities(shown: BinnedCounts, span: Range) -> NDArray[np.float64]:
    """Return how many times more values each bin holds than if all were spread evenly over ``span``."""
    widths = np.diff(shown.edges / span.unit) / ((span.high / span.unit - span.low / span.unit) or 1.0)
    share: NDArray[np.float64] = shown.counts / shown.total / np.maximum(widths, NARROWEST)
    return share


def describe_histogram(shown: BinnedCounts) -> str:
    """Return in words where the values lie: the fullest bin, and the bins that hold the middle half."""
    fullest = int(shown.counts.argmax())
    share = shown.counts / shown.total
    cumulative = share.cumsum()
    first, last = (int(np.searchsorted(cumulative, level)) for level in (0.25, 0.75))
    last = min(last, len(share) - 1)
    low, high = figure(shown.edges[fullest]), figure(shown.edges[fullest + 1])
    return (
        f"the middle half lies from {figure(shown.edges[first])} to {figure(shown.edges[last + 1])}; "
        f"most, {percent(float(share[fullest]))}, from {low} to {high}"
    )


def strip(
    span: Range, low: float | None, high: float | None, box: tuple[float, float] | None, middle: float | None
) -> Html:
    """Draw a range as a line, the middle of the values as a box on it and the median or mean as a tick."""

    def at(value: float) -> str:
        return _short(2 + span.position(value, STRIP_WIDTH - 4))

    parts = []
    centre = STRIP_HEIGHT // 2
    if low is not None and high is not None:
        parts.append(tag("path", class_="whisker", d=f"M{at(low)} {centre}H{at(high)}M{at(low)} 5v6M{at(high)} 5v6"))
    if box is not None:
        width = max(float(at(box[1])) - float(at(box[0])), 1.0)
        parts.append(tag("rect", class_="box", x=at(box[0]), y=3, width=_short(width), height=STRIP_HEIGHT - 6))
    if middle is not None:
        parts.append(tag("path", class_="middle", d=f"M{at(middle)} 1V{STRIP_HEIGHT - 1}"))
    return tag("svg", *parts, viewBox=f"0 0 {STRIP_WIDTH} {STRIP_HEIGHT}", class_="strip", aria_hidden="true")


def bar(share: float, mark: float | None = None) -> Html:
    """Draw a share of the width as a bar, and a mark to compare it with."""
    drawn = tag("rect", class_="bars", width=_short(100 * min(max(share, 0.0), 1.0)), height=5)
    line = None if mark is None else tag("path", class_="outline", d=f"M{_short(100 * mark)} 0v5")
    frame = tag("rect", class_="frame", width=100, height=5)
    return tag(
        "svg", frame, drawn, line, viewBox="0 0 100 5", preserveAspectRatio="none", class_="bar", aria_hidden="true"
    )


def correlations(values: NDArray[np.float64], label: str) -> Html:
    """Draw the lower triangle of a matrix of correlations: a square per pair, its size their strength.

    Squares of positive correlations are filled and those of negative ones hollow, so that no colour is needed.
    """
    size = len(values)
    positive, negative, unknown, grid = [], [], [], []
    for row in range(size):
        grid.append(f"M0 {row * CELL}H{(row + 1) * CELL}M{row * CELL} {row * CELL}V{size * CELL}")
        for column in range(row):
            value, x, y = values[row, column], (column + 0.5) * CELL, (row + 0.5) * CELL
            if np.isnan(value):
                unknown.append(f"M{x - 2:g} {y - 2:g}l4 4m0 -4l-4 4")
                continue
            side = max(round(abs(float(value)) ** 0.5 * (CELL - 2), 1), 0.4)
            half = side / 2
            if value >= 0:
                positive.append(f"M{x - half:g} {y - half:g}h{side:g}v{side:g}h-{side:g}z")
            else:
                inner = max(side - 1, 0.3)
                negative.append(f"M{x - inner / 2:g} {y - inner / 2:g}h{inner:g}v{inner:g}h-{inner:g}z")
    numbers = [
        tag(
            "text",
            str(index + 1),
            x=_short((index + 0.5) * CELL),
            y=_short((index + 0.5) * CELL + 2.6),
            class_="number",
        )
        for index in range(size)
    ]
    return tag(
        "svg",
        tag("path", class_="grid", d=Html("".join(grid))),
        tag("path", class_="positive", d=Html("".join(positive))),
        tag("path", class_="negative", d=Html("".join(negative))),
        tag("path", class_="unknown", d=Html("".join(unknown))),
        *numbers,
        viewBox=f"0 0 {size * CELL} {size * CELL}",
        width=size * 3 * CELL,
        role="img",
        aria_label=label,
        class_="correlations",
    )


def span_of(values: Sequence[float | None]) -> Range | None:
    """Return the range of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return Range(min(known), max(known)) if known else None


def box_of(quantiles: Mapping[float, float]) -> tuple[float, float] | None:
    """Return the quartiles, or the narrowest pair of quantiles at p and 1 − p."""
    pairs = {p: (v, quantiles[q]) for p, v in quantiles.items() if p < 0.5 for q in quantiles if abs(p + q - 1) < 1e-9}
    return pairs.get(0.25) or (pairs[max(pairs)] if pairs else None)


def _bars(shown: BinnedCounts, span: Range, highest: float) -> str:
    gap = 1.0 if len(shown.counts) <= 40 else 0.0
    parts = []
    for index, density in enumerate(densities(shown, span)):
        left = span.position(float(shown.edges[index]), WIDTH)
        width = span.position(float(shown.edges[index + 1]), WIDTH) - left
        height = HEIGHT * float(density) / highest if highest > 0 else 0.0
        if height > 0:
            up, along = _short(max(height, 0.5)), _short(max(width - gap, 0.5))
            parts.append(f"M{_short(left + gap / 2)} {HEIGHT}v-{up}h{along}V{HEIGHT}z")
    return "".join(parts)


def _steps(shown: BinnedCounts, span: Range, highest: float) -> str:
    parts = [f"M{_short(span.position(float(shown.edges[0]), WIDTH))} {HEIGHT}"]
    for index, density in enumerate(densities(shown, span)):
        top = HEIGHT - (HEIGHT * float(density) / highest if highest > 0 else 0.0)
        parts.append(f"V{_short(top)}H{_short(span.position(float(shown.edges[index + 1]), WIDTH))}")
    return "".join(parts) + f"V{HEIGHT}"


def _short(value: float) -> str:
    """Return a coordinate with one digit after the point at most."""
    return f"{value:.1f}".removesuffix(".0")
