"""The table for the terminal: a row for each feature, with a small plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flare_stats.hierarchy import GLOBAL

if TYPE_CHECKING:
    from flare_stats.output.results import Results

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 20
_NUMBERS = ("count", "missing", "mean", "stddev", "min", "quantile", "max")
_TITLES = {"quantile": "median"}
_MOST_ROWS, _LONGEST = 60, 30


def sparkline(counts: Sequence[float], width: int = _WIDTH) -> str:
    """Return counts as a row of blocks of their heights; adjacent ones are added if there are more than the width."""
    if len(counts) > width:
        step = len(counts) / width
        counts = [sum(counts[int(at * step) : int((at + 1) * step)]) for at in range(width)]
    top = max(counts, default=0)
    if top <= 0:
        return " " * len(counts)
    return "".join(_BLOCKS[-int(-8 * max(count, 0) // top)] for count in counts)


def table_of(results: Results, place: str = GLOBAL) -> tuple[str, list[str], list[list[str]]]:
    """Return title, headers and rows of the statistics at a place."""
    datasets = _datasets(results, place)
    names = [name for name in _NUMBERS if any(name in of for of in results.statistics.values())]
    has_plots = any({"histogram", "categories", "top_values"} & {*of} for of in results.statistics.values())
    headers = [
        "feature",
        *(["data"] if len(datasets) > 1 else []),
        *(_TITLES.get(name, name) for name in names),
        *(["distribution"] if has_plots else []),
    ]
    rows = []
    for feature, of in results.statistics.items():
        for dataset in datasets:
            found = {name: values[place][dataset] for name, values in of.items() if dataset in values.get(place, {})}
            if not found:
                continue
            cells = [_cell(name, found.get(name)) for name in names]
            plot = [_plot(found)] if has_plots else []
            rows.append([_cut(feature), *([dataset] if len(datasets) > 1 else []), *cells, *plot])
    if len(rows) > _MOST_ROWS:
        more = len(rows) - _MOST_ROWS
        rows = [*rows[:_MOST_ROWS], [f"… {more:,} more", *[""] * (len(headers) - 1)]]
    sites = len(results.facts["sites"])
    title = f"Statistics of {sites} site{'s' if sites != 1 else ''}"
    if refused := len(results.facts.get("refused", ())):
        title += f"; {refused:,} {'was' if refused == 1 else 'were'} not given: about.json says why"
    return title, headers, rows


def _datasets(results: Results, place: str) -> list[str]:
    return list(
        dict.fromkeys(
            dataset for of in results.statistics.values() for values in of.values() for dataset in values.get(place, {})
        )
    )


def _cell(name: str, value: Any) -> str:
    if name == "quantile" and value is not None:
        value = value.get("0.5")
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.4g}"


def _plot(found: dict[str, Any]) -> str:
    if "histogram" in found:
        return sparkline([count for _, _, count in found["histogram"]])
    top = found.get("top_values") or list(found.get("categories", {}).items())
    if "categories" in found:  # the count may hold values of sites that gave no categories
        total = sum(found["categories"].values()) + found.get("categories_other", 0)
    else:
        total = found.get("count") or sum(count for _, count in top)
    return ", ".join(f"{_cut(value)} {count / total:.0%}" for value, count in top[:3]) if total else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
