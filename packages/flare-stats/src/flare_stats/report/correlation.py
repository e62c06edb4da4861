"""The heat map of correlations, the strongest pairs in words, and all numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flare_stats.report import charts
from flare_stats.report.analysis import Analysis, View
from flare_stats.report.data import GLOBAL, Matrix
from flare_stats.report.html import Html, count, join, name, plain, plural, short, table, tag

MAX_FEATURES = 40  # of a heat map
MAX_MATRICES = 48  # in all views together
STRONGEST = 8


def section(analysis: Analysis) -> Html | None:
    """Return the section of correlations: all together, and the places of the selected level; None without matrices."""
    if not analysis.data.matrices:
        return None
    whole = [tag("div", *_matrices(analysis, view, [GLOBAL], 1), class_=view.selector) for view in analysis.wholes]
    most = max(MAX_MATRICES // len(analysis.views), 1)
    views = [
        tag("div", *_matrices(analysis, view, view.level.places, most), class_=view.selector)
        for view in analysis.views
        if view.level.places
    ]
    return tag("section", tag("h2", "Correlation", id="correlation"), *whole, *views, aria_labelledby="correlation")


def _matrices(analysis: Analysis, view: View, places: Sequence[str], most: int) -> list[Html]:
    known = {place: matrix for place in places if (matrix := analysis.data.matrix(place, view.dataset)) is not None}
    kept = list(known)[:most]
    blocks = [_place(place, known[place], opened=place == GLOBAL) for place in kept]
    if len(known) > len(kept):
        note = join(f"{plural(len(known) - len(kept), 'more place')} in ", tag("code", "matrices.json"), ".")
        blocks.append(tag("p", note, class_="note"))
    return blocks


def _place(place: str, matrix: Matrix, *, opened: bool) -> Html:
    title = "All together" if place == GLOBAL else name(place)
    of = "" if matrix.count is None else f", {count(matrix.count)} rows"
    shown, left_out = _most_correlated(matrix)
    pairs = _pairs(shown)
    told = "; ".join(
        f"{short(shown.features[i])} and {short(shown.features[j])} {_signed(value)}" for value, i, j in pairs[:3]
    )
    label = f"Heat map of correlations between {len(shown.features)} features. Strongest: {told}."
    legend = tag("ol", *(tag("li", name(feature, 40)) for feature in shown.features), class_="legend")
    note = "A filled square is a positive correlation, a hollow one a negative, its area the strength; × is not known."
    if left_out:
        note += f" The {len(shown.features)} of {count(len(matrix.features))} features that correlate most are shown."
    beside = tag("div", legend, _strongest(shown, pairs, title), class_="beside")
    heat = tag("div", tag("div", charts.correlations(shown.values, label), class_="heat"), beside, class_="correlation")
    numbers = tag("details", tag("summary", "Numbers"), _numbers(shown, title), class_="more")
    content = tag("div", heat, tag("p", note, class_="note"), numbers)
    return tag(
        "details",
        tag("summary", tag("h3", title), tag("span", of.removeprefix(", "), class_="n")),
        content,
        open=opened,
        class_="matrix",
    )


def _most_correlated(matrix: Matrix) -> tuple[Matrix, int]:
    """Return the part of a matrix with the features of the strongest correlations, and how many are left out."""
    size = len(matrix.features)
    if size <= MAX_FEATURES:
        return matrix, 0
    strength = np.abs(np.nan_to_num(matrix.values)) * (1 - np.eye(size))
    kept = np.sort(np.argsort(-strength.max(axis=1), kind="stable")[:MAX_FEATURES])
    features = tuple(matrix.features[index] for index in kept)
    return Matrix(features, matrix.count, matrix.values[np.ix_(kept, kept)]), size - MAX_FEATURES


def _pairs(matrix: Matrix) -> list[tuple[float, int, int]]:
    """Return the known correlations of pairs, the strongest first."""
    rows, columns = np.tril_indices(len(matrix.features), -1)
    values = matrix.values[rows, columns]
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(-np.abs(values[known]), kind="stable")]
    return [(float(values[i]), int(columns[i]), int(rows[i])) for i in order]


def _strongest(matrix: Matrix, pairs: list[tuple[float, int, int]], title: Any) -> Html | None:
    if not pairs:
        return None
    body: list[list[Any]] = [
        [join(name(matrix.features[i], 40), " and ", name(matrix.features[j], 40)), _signed(value)]
        for value, i, j in pairs[:STRONGEST]
    ]
    return table(join("Strongest correlations: ", title), ["Pair", "Correlation"], body, class_="pairs")


def _numbers(matrix: Matrix, title: Any) -> Html:
    head = ["Feature", *(str(index + 1) for index in range(len(matrix.features)))]
    body: list[list[Any]] = [
        [join(f"{row + 1} ", name(feature, 32)), *(_signed(float(value)) for value in matrix.values[row, : row + 1])]
        + [""] * (len(matrix.features) - row - 1)
        for row, feature in enumerate(matrix.features)
    ]
    caption = join("Correlations: ", title)
    return table(caption, head, body, class_="numbers", label=plain(caption))


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
