"""The first page of a report: who, when, how much, what stands out, and what was not given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flare_stats.report import charts
from flare_stats.report.analysis import Analysis, mark_text
from flare_stats.report.data import GLOBAL, Level, Refusal, finite, mapping
from flare_stats.report.drift import DRIFT
from flare_stats.report.html import Html, cell, count, join, name, names, percent, plural, table, tag

MAX_PLACES = 300
MAX_REFUSALS = 100
MAX_FINDINGS = 5


def header(analysis: Analysis) -> Html:
    """Return the title with the time and the job."""
    about = analysis.data.about
    title = str(about.get("name") or "Statistics of many sites")
    time, job = _time(about.get("time")), about.get("job_id")
    told = join("job ", name(str(job))) if job else None
    return tag(
        "header",
        tag("p", "Federated statistics", class_="kind"),
        tag("h1", name(title, 120)),
        tag("p", time, " · " if time and told else None, told, class_="when"),
    )


def section(analysis: Analysis) -> Html:
    """Return the summary: key figures, findings in words, and the places with their rows."""
    chosen = [level for level in analysis.levels if level.places]
    levels = [tag("div", _places(analysis, level), class_=f"v l{index}") for index, level in enumerate(chosen)]
    if not levels and analysis.data.levels[0].places:
        levels = [_places(analysis, analysis.data.levels[0])]
    return tag(
        "section",
        tag("h2", "Summary", id="summary"),
        _key_figures(analysis),
        tag("ul", *(tag("li", each) for each in _findings(analysis)), class_="findings"),
        *levels,
        aria_labelledby="summary",
    )


def refused_section(analysis: Analysis) -> Html:
    """Return the section that names what sites did not give, and the rule for which they did not."""
    refusals = analysis.data.refusals
    if not refusals:
        noted = "refused" in analysis.data.about
        shown = tag(
            "p", "Every site gave what it was asked for." if noted else "The run did not note what was refused."
        )
    else:
        shown = _refusals(refusals)
    return tag("section", tag("h2", "Not given", id="refused"), shown, aria_labelledby="refused")


def _key_figures(analysis: Analysis) -> Html:
    data = analysis.data
    rows = [data.rows(GLOBAL, dataset) for dataset in data.datasets]
    known = [each for each in rows if each is not None]
    figures = [
        ("Sites", count(len(data.levels[0].places))),
        ("Rows", count(sum(known) if known else None)),
        ("Features", count(len(data.features))),
        ("Marked for drift", _marked(analysis)),
        ("Not given", count(len(data.refusals))),
    ]
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", value)) for term, value in figures), class_="key")


def _marked(analysis: Analysis) -> str:
    if not analysis.comparisons:
        return "–"
    features = {mark.feature for mark in analysis.site_marks()}
    return f"{count(len(features))} of {count(len(analysis.data.features))}"


def _findings(analysis: Analysis) -> list[Html]:
    """Return what stands out, in sentences."""
    found = [*_drift_findings(analysis), _missing_finding(analysis), _refused_finding(analysis)]
    return [each for each in (*found, *_left_out(analysis)) if each]


def _left_out(analysis: Analysis) -> Iterator[Html]:
    """Yield sentences on data sets and levels that the page has no room for."""
    data = analysis.data
    for noun, shown, number in (
        ("data sets", data.datasets, data.dataset_count),
        ("levels", data.levels, data.level_count),
    ):
        if number > len(shown):
            yield join(f"Only the first {len(shown)} of {number} {noun} are shown.")


def _drift_findings(analysis: Analysis) -> list[Html]:
    marks = analysis.site_marks()
    if not analysis.comparisons:
        return [join("Drift between sites is unknown: ", _why_no_drift(analysis))]
    if not marks:
        return [join("No site differs from the others by more than the thresholds, in any feature.")]
    features: dict[str, dict[str, float]] = {}
    for mark in marks:
        features.setdefault(mark.place, {}).setdefault(mark.feature, mark.drift.psi)
    places = sorted(features, key=lambda place: -len(features[place]))
    found = []
    for place in places[:MAX_FINDINGS]:
        of_place = list(features[place])
        degrees = [mark.degree for mark in marks if mark.place == place]
        found.append(
            join(
                *(tag("strong", mark_text(max(degrees))), " ", name(place), " differs from the other sites in "),
                *(
                    plural(len(of_place), "feature"),
                    ", most in " if len(of_place) > 1 else ": ",
                    names(of_place[:3]),
                    ".",
                ),
            )
        )
    if len(places) > MAX_FINDINGS:
        more = plural(len(places) - MAX_FINDINGS, "more site differs", "more sites differ")
        found.append(join(f"{more} in at least one feature."))
    return found


def _why_no_drift(analysis: Analysis) -> str:
    if analysis.data.about.get("masked"):
        return "the sums were masked, so that only totals of all sites are known."
    if len(analysis.data.levels[0].places) < 2:
        return "there are not two sites to compare."
    return "no two sites gave histograms or counts of categories."


def _missing_finding(analysis: Analysis) -> Html | None:
    data = analysis.data
    places = [*data.levels[0].places, GLOBAL]
    worst = (0.0, "", "")
    for feature in data.features:
        for dataset in data.datasets:
            for place in places:
                share = data.missing_share(feature, place, dataset)
                if share is not None and share > worst[0]:
                    worst = (share, feature, place)
    if not worst[0]:
        return None
    where = "all sites together" if worst[2] == GLOBAL else name(worst[2])
    return join("Most values are missing of ", name(worst[1]), " at ", where, f": {percent(worst[0])} of its rows.")


def _refused_finding(analysis: Analysis) -> Html | None:
    refusals = analysis.data.refusals
    if not refusals:
        return None
    sites = list(dict.fromkeys(refusal.site for refusal in refusals))
    return join(
        f"{plural(len(refusals), 'statistic')} not given by ",
        names(sites, 4),
        "; ",
        tag("a", "see why", href="#refused"),
        ".",
    )


def _places(analysis: Analysis, level: Level) -> Html:
    """Return the table of the places of a level: rows by data set, marks, and what was not given."""
    data = analysis.data
    views = [view for view in analysis.views if view.level is level]
    marks = [mark for view in views for mark in analysis.marks(view)]
    strong = Counter(place for place, _ in {(mark.place, mark.feature) for mark in marks if mark.degree == DRIFT})
    weak = Counter(place for place, _ in {(mark.place, mark.feature) for mark in marks})
    refused = Counter(refusal.site for refusal in data.refusals)
    of_sites = level is analysis.data.levels[0]
    head: list[Any] = ["Site" if of_sites else name(level.name)]
    head += [join("Rows, ", name(dataset, 24)) if len(data.datasets) > 1 else "Rows" for dataset in data.datasets]
    totals = {place: sum(data.rows(place, dataset) or 0.0 for dataset in data.datasets) for place in level.places}
    largest = max(totals.values(), default=0.0)
    head += [cell("Share of rows", "th", scope="col", class_="left"), "Features marked"] + ["Not given"] * of_sites
    body = []
    compared = {place for view in views for feature in data.features for place in analysis.drifts_of(feature, view)}
    for place in level.places[:MAX_PLACES]:
        row: list[Any] = [name(place), *(count(data.rows(place, dataset)) for dataset in data.datasets)]
        row.append(cell(charts.bar(totals[place] / largest) if totals[place] else "–", class_="left"))
        told = plural(weak[place], "feature") if weak[place] else "none"
        sign = mark_text(DRIFT)[:1] if strong[place] else "△" if weak[place] else None
        row.append(join(told, " ", tag("b", sign) if sign else None) if place in compared else "–")
        body.append(row + [count(refused[place])] * of_sites)
    whole: list[Any] = [tag("span", "All together", class_="whole")]
    whole += [count(data.rows(GLOBAL, dataset)) for dataset in data.datasets]
    body.append([*whole, "", "", *([count(len(data.refusals))] * of_sites)])
    made = table("Rows by site" if of_sites else join("Rows by ", name(level.name)), head, body, class_="places")
    if len(level.places) <= MAX_PLACES:
        return made
    return join(
        made, tag("p", f"{plural(len(level.places) - MAX_PLACES, 'more place')} not listed here.", class_="note")
    )


def _refusals(refusals: tuple[Refusal, ...]) -> Html:
    """Return a table of refusals: one row for all sites that refused the same for the same reason."""
    by_site: dict[tuple[str, str, str], list[Refusal]] = {}
    for refusal in refusals:
        by_site.setdefault((refusal.rule, refusal.dataset, refusal.site), []).append(refusal)
    sites: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (rule, dataset, site), group in by_site.items():
        statistics = tuple(dict.fromkeys(each.statistic for each in group))
        features = tuple(dict.fromkeys(each.feature for each in group))
        sites.setdefault((rule, dataset, statistics, features), []).append(site)
    body = [
        [names(refusing, 8), name(rule, 160), name(dataset, 24), names(statistics, 8), names(features, 6)]
        for (rule, dataset, statistics, features), refusing in list(sites.items())[:MAX_REFUSALS]
    ]
    head = ["Sites", "Rule", "Data set", "Statistics", "Features"]
    made = table("Statistics that sites did not give, and why", head, body, class_="text")
    left = len(sites) - len(body)
    note = join(f"{plural(left, 'more row')} in ", tag("code", "about.json"), ".") if left else None
    return join(tag("p", "A site's own rules decide what leaves it."), made, note and tag("p", note, class_="note"))


def _time(value: Any) -> Html | None:
    """Return a time for people, from ISO 8601 or seconds since 1970; other text as it is."""
    seconds = finite(value) if isinstance(value, int | float) else None
    try:
        moment = datetime.fromtimestamp(seconds, UTC) if seconds is not None else datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return name(str(value)) if value else None
    zone = f" {moment.tzname()}" if moment.tzinfo else ""
    return tag("time", f"{moment.day} {moment:%B %Y, %H:%M}{zone}", datetime=moment.isoformat())


def masked_note(analysis: Analysis) -> Html | None:
    """Return what masked sums mean for the reader; None where they are not masked."""
    if not mapping(analysis.data.about).get("masked"):
        return None
    return tag("p", "Sums were masked: the server saw the totals of all sites and nothing of a single one.")
