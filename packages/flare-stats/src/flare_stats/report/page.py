"""make_report: one HTML file that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from flare_stats.report import correlation, features, maps, summary
from flare_stats.report.analysis import Analysis
from flare_stats.report.data import ReportData, finite
from flare_stats.report.drift import CHANCE, KS_DRIFT, KS_SHIFT, PSI_DRIFT, PSI_SHIFT
from flare_stats.report.html import Html, join, name, percent, plural, short, tag
from flare_stats.report.shares import category_table

MAX_TARGETS = 4
MAX_BYTES = 16 << 20
DRAWN = (6_000, 2_000, 500, 100)
INDEX = f"""How differently the values of a place are spread from those of all other places of its level together, but
for places that drift themselves: Σ (p − q) ln(p / q) over at most ten groups of bins of about equal size, or of
categories. 0 is no difference. For bell-shaped data {PSI_SHIFT:.2f} is a shift of the mean by a third of a standard
deviation, {PSI_DRIFT:.2f} by half."""
DISTANCE = f"""The largest difference between the shares of values below any edge of a bin, from 0 to 1. For bell-shaped
data {KS_SHIFT:.2f} is a shift by a quarter of a standard deviation, {KS_DRIFT:.2f} by half. In tables of numbers it
stands behind the index."""
STRIPS = """A strip shows the smallest and largest value as a line, the middle half as a box, and the median as a
tick; without quartiles the box is the mean plus and minus the standard deviation. In histograms and bars the thin line
is all together."""


def make_report(
    statistics: Mapping[str, Any], matrices: Mapping[str, Any] | None = None, about: Mapping[str, Any] | None = None
) -> str:
    """Return a report of a run's statistics as one HTML document, which asks the network for nothing.

    Values of the wrong type count as absent; every name is escaped and shortened. The page draws at most 500
    features and 6,000 times a place, and less if the file were larger than 16 MiB otherwise; where it leaves something
    out, it says so.

    Args:
        statistics: as in ``statistics.json``: {feature: {statistic: {place: {data set: value}}}}.
        matrices: as in ``matrices.json``: {place: {data set: {"features", "count", "correlation"}}}.
        about: as in ``about.json``: name, time, sites, levels, rows and what was refused.
    """
    data = ReportData(statistics, matrices or {}, about or {})
    for drawn in DRAWN:
        page = _page(Analysis(data, drawn))
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def _page(analysis: Analysis) -> str:
    style, script = Html(_text("page.css") + _rules(analysis)), Html(_text("page.js"))
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    sections = {
        "Summary": summary.section(analysis),
        "Drift": maps.drift_section(analysis),
        "Features": features.section(analysis),
        "Missing": maps.missing_section(analysis),
        "Target": _target_section(analysis),
        "Correlation": correlation.section(analysis),
        "Not given": summary.refused_section(analysis),
        "How to read this": _notes(analysis),
    }
    shown = {title: section for title, section in sections.items() if section is not None}
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=Html(policy)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", short(str(analysis.data.about.get("name") or "Statistics of many sites"))),
        tag("style", style),
    )
    body = tag(
        "body",
        tag("a", "Skip to the summary", href="#main", class_="skip"),
        summary.header(analysis),
        _navigation(list(shown)),
        tag("main", _selection(analysis), *shown.values(), id="main", tabindex="-1"),
        tag("footer", tag("p", "Made by Flare from the statistics that sites gave.")),
        tag("script", script),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _navigation(titles: list[str]) -> Html:
    targets = {"How to read this": "notes", "Not given": "refused"}
    links = [tag("li", tag("a", title, href=f"#{targets.get(title, title.lower())}")) for title in titles]
    return tag("nav", tag("ul", *links), aria_label="Sections")


def _selection(analysis: Analysis) -> Html | None:
    """Return the choice of level and data set, made by the style sheet alone; None where there is nothing to choose."""
    groups = [
        ("level", "Compare", [level.name for level in analysis.levels]),
        ("data", "Data set", analysis.data.datasets),
    ]
    made = []
    for key, title, choices in groups:
        if len(choices) < 2:
            continue
        radios = [
            tag("label", tag("input", type="radio", name=key, id=f"{key[0]}{i}", checked=not i), name(choice))
            for i, choice in enumerate(choices)
        ]
        made.append(tag("fieldset", tag("legend", title), *radios))
    return tag("form", *made, id="selection", aria_label="Selection") if made else None


def _rules(analysis: Analysis) -> str:
    """Return the rules that hide what belongs to another level or data set than the selected ones.

    A browser that does not know :has() shows all of them, one after the other.
    """
    lines = []
    for prefix, number in (("l", len(analysis.levels)), ("d", len(analysis.data.datasets))):
        if number > 1:
            lines += [
                f'main:has(#{prefix}{i}:checked) .v[class*=" {prefix}"]:not(.{prefix}{i}){{display:none}}'
                for i in range(number)
            ]
    return "\n".join(lines)


def _target_section(analysis: Analysis) -> Html | None:
    """Return the balance of the target by class; None if the run names no target."""
    targets = analysis.data.targets[:MAX_TARGETS]
    if not targets:
        return None
    blocks = []
    for view in analysis.views:
        of = f", {view.label}" if view.label else ""
        captions = [join("Shares of the classes of ", name(target), of) for target in targets]
        shown = [
            category_table(analysis, target, view, caption, facts=False)
            for target, caption in zip(targets, captions, strict=True)
        ]
        known = [each for each in shown if each is not None]
        blocks.append(tag("div", *(known or [tag("p", "No place gave counts of classes.")]), class_=view.selector))
    return tag("section", tag("h2", "Target", id="target"), *blocks, aria_labelledby="target")


def _notes(analysis: Analysis) -> Html:
    terms: list[tuple[str, Any]] = _marks(analysis) if analysis.comparisons else []
    terms += [
        ("Strips and lines", STRIPS),
        ("–", "Not known: not asked for, not given by the site, or not defined."),
    ]
    terms += _errors(analysis)
    shown = [each for term, text in terms for each in (tag("dt", term), tag("dd", text))]
    return tag(
        "section",
        tag("h2", "How to read this", id="notes"),
        summary.masked_note(analysis),
        tag("dl", *shown, class_="terms"),
        aria_labelledby="notes",
    )


def _marks(analysis: Analysis) -> list[tuple[str, Any]]:
    marks = join(
        *(tag("strong", "△ shift"), f": the index reaches {PSI_SHIFT:.2f} or the distance {KS_SHIFT:.2f}. "),
        *(tag("strong", "▲ drift"), f": the index reaches {PSI_DRIFT:.2f} or the distance {KS_DRIFT:.2f}. "),
        "Small samples differ by chance, so a number counts only where chance hardly reaches it: without drift, the ",
        f"{plural(analysis.comparisons, 'comparison')} of this report would mark anything at all in {percent(CHANCE)} ",
        "of reports.",
    )
    return [("Population stability index", INDEX), ("Kolmogorov-Smirnov distance", DISTANCE), ("Marks", marks)]


def _errors(analysis: Analysis) -> list[tuple[str, Any]]:
    """Return what the errors of quantiles and of distinct counts mean, if there are any of these."""
    about, present = (
        analysis.data.about,
        {each for of in analysis.data.features for each in analysis.data.statistics_of(of)},
    )
    rank, distinct = finite(about.get("quantile_rank_error")), finite(about.get("distinct_relative_error"))
    found: list[tuple[str, Any]] = []
    if "quantile" in present and rank is not None:
        told = f"A quantile is the exact one of a probability at most {percent(rank)} away."
        few = "A site has so few values that its quantiles tell little: ranks are given in groups of values."
        found.append(("Error of quantiles", told if rank < 0.5 else few))
    if "distinct" in present and distinct is not None:
        found.append(
            ("Error of distinct counts", f"About {percent(distinct)}." if distinct else "None: they are exact.")
        )
    return found


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _text(file: str) -> str:
    return (files("flare_stats.report") / file).read_text(encoding="utf-8")
