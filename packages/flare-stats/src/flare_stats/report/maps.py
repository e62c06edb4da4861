"""Maps of features by places, as tables whose cells are numbers: drift, and missing values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flare_stats.report.analysis import Analysis, View, mark_text
from flare_stats.report.drift import DRIFT, NONE, Drift
from flare_stats.report.html import Html, cell, count, join, name, percent, plural, table, tag

MAX_ROWS = 60
MAX_COLUMNS = 42
WIDEST = 14  # columns of one table
FEWEST_ROWS = 10  # shown of the map of drift, marked or not


def drift_section(analysis: Analysis) -> Html | None:
    """Return the section that says which places differ from the others, in which features; None if none is compared."""
    if not analysis.comparisons:
        return None
    views = [tag("div", _drift_map(analysis, view), class_=view.selector) for view in analysis.views]
    return tag("section", tag("h2", "Drift between places", id="drift"), *views, aria_labelledby="drift")


def missing_section(analysis: Analysis) -> Html | None:
    """Return the section that says where values are missing; None if no place gave numbers of missing values."""
    if not any("missing" in analysis.data.statistics_of(feature) for feature in analysis.data.features):
        return None
    views = [tag("div", _missing_map(analysis, view), class_=view.selector) for view in analysis.views]
    return tag("section", tag("h2", "Missing values", id="missing"), *views, aria_labelledby="missing")


def _drift_map(analysis: Analysis, view: View) -> Html:
    strongest = {
        feature: max((drift.psi for drift in drifts.values()), default=0.0)
        for feature in analysis.data.features
        if (drifts := analysis.drifts_of(feature, view))
    }
    if not strongest:
        why = "Places are compared where at least two of a level gave a histogram or counts of categories"
        return tag("p", f"{why}; here there are none.", class_="note")
    marks = analysis.marks(view)
    marked = list(dict.fromkeys(mark.feature for mark in marks))
    others = sorted((each for each in strongest if each not in set(marked)), key=lambda each: -strongest[each])
    rows = [*marked, *others[: max(FEWEST_ROWS - len(marked), 0)]][:MAX_ROWS]
    by_place: dict[str, float] = {}
    for mark in marks:
        by_place[mark.place] = by_place.get(mark.place, 0.0) + 1
    columns = _columns(view.level.places, by_place)

    def shown(feature: str, place: str) -> Html:
        drift = analysis.drift(feature, place, view)
        if drift is None:
            return cell("–", class_="unknown")
        degree = analysis.degree(drift)
        sign = mark_text(degree)[:1]
        told = join(f"{drift.psi:.2f}", tag("b", sign, title=mark_text(degree)[2:]) if sign else None)
        return cell(told, class_=_drift_class(analysis, drift, degree))

    verb = "is" if len(marked) == 1 else "are"
    said = (
        f"{count(len(marked))} of {plural(len(strongest), 'feature')} {verb} marked. "
        if marked
        else "Nothing is marked. "
    )
    caption = join("Population stability index of each place against the others of its level", _of(view))
    legend = "▲ drift, △ shift, grey: small enough for chance, – not comparable. "
    return join(
        tag(
            "p",
            said,
            legend,
            *_cut(len(rows), len(strongest), "features"),
            *_cut(len(columns), len(view.level.places), "places"),
        ),
        _map(analysis, caption, rows, columns, shown),
    )


def _drift_class(analysis: Analysis, drift: Drift, degree: int) -> str | None:
    if degree != NONE:
        return "strong" if degree == DRIFT else "weak"
    return "chance" if analysis.may_be_chance(drift) else None


def _missing_map(analysis: Analysis, view: View) -> Html:
    places = view.level.places or ("Global",)
    shares = {
        feature: {
            place: share
            for place in places
            if (share := analysis.data.missing_share(feature, place, view.dataset)) is not None
        }
        for feature in analysis.data.features
    }
    known = {feature: each for feature, each in shares.items() if each}
    if not known:
        return tag("p", "No place gave numbers of missing values.", class_="note")
    worst = {feature: max(each.values()) for feature, each in known.items() if max(each.values()) > 0}
    if not worst:
        return tag("p", f"No value is missing in {plural(len(known), 'feature')}.")
    rows = sorted(worst, key=lambda feature: -worst[feature])[:MAX_ROWS]
    by_place: dict[str, float] = {}
    for of_feature in known.values():
        for place, share in of_feature.items():
            by_place[place] = by_place.get(place, 0.0) + share
    columns = _columns(places, by_place)

    def shown(feature: str, place: str) -> Html:
        share = shares[feature].get(place)
        if share is None:
            return cell("–", class_="unknown")
        depth = next((depth for depth, limit in enumerate((0, 0.01, 0.05, 0.2, 0.5)) if share <= limit), 5)
        return cell(percent(share) if share else "0", class_=f"m{depth}")

    complete = len(known) - len(worst)
    said = f"Values are missing in {plural(len(worst), 'feature')}"
    said += (
        f"; the other {count(complete)} are complete. "
        if complete > 1
        else "; the other is complete. "
        if complete
        else ". "
    )
    caption = join("Share of rows without a value", _of(view))
    cuts = [*_cut(len(rows), len(worst), "features"), *_cut(len(columns), len(places), "places")]
    return join(tag("p", said, "– not given. ", *cuts), _map(analysis, caption, rows, columns, shown))


def _map(
    analysis: Analysis, caption: Any, rows: Sequence[str], columns: Sequence[str], shown: Callable[[str, str], Html]
) -> Html:
    """Return the map, as several tables if it has too many columns for paper; its rows lead to the features."""
    tables = []
    for start in range(0, len(columns), WIDEST):
        part = columns[start : start + WIDEST]
        titles = [tag("span", name(_title(place), 48)) for place in part]
        head = ["Feature", *(cell(title, "th", scope="col", class_="upright") for title in titles)]
        body: list[list[Any]] = [
            [_link(analysis, feature), *(shown(feature, place) for place in part)] for feature in rows
        ]
        range_ = f", places {start + 1} to {start + len(part)}" if len(columns) > WIDEST else ""
        tables.append(table(join(caption, range_), head, body, class_="map"))
    return join(*tables)


def _link(analysis: Analysis, feature: str) -> Html:
    shown, number = name(feature, 40), analysis.shown.get(feature)
    return shown if number is None else tag("a", shown, href=f"#f{number}")


def _columns(places: Sequence[str], weight: dict[str, float]) -> list[str]:
    """Return the places, or the ones of the largest weight if there are too many, in their order."""
    kept = set(sorted(places, key=lambda place: -weight.get(place, 0.0))[:MAX_COLUMNS])
    return [place for place in places if place in kept]


def _cut(shown: int, of: int, noun: str) -> list[str]:
    return [f"The table shows the {count(shown)} most affected of {count(of)} {noun}. "] if shown < of else []


def _of(view: View) -> str:
    return f": {view.label}" if view.label else ""


def _title(place: str) -> str:
    return "All together" if place == "Global" else place
