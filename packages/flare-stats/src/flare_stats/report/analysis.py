"""The views of a report that a reader selects, and the drift of every place, feature and data set in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from flare_stats.report.data import GLOBAL, Level, ReportData
from flare_stats.report.drift import CHANCE, DRIFT, NONE, Drift, compare_categories, compare_histograms
from flare_stats.report.html import short

TOGETHER = Level("All together", ())
MAX_FEATURES = 500
MAX_PLACES = 120  # of one feature
FEWEST_PLACES = 4  # of one feature, all together among them


@dataclass(frozen=True, slots=True)
class View:
    """A level and a data set, of which one of each is shown at a time.

    Attributes:
        selector: the classes by which the style sheet shows or hides what belongs to the view.
        label: of the view, in words; empty where there is but one.
    """

    level: Level
    dataset: str
    selector: str
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place whose values of a feature differ from those of the other places of its level."""

    feature: str
    place: str
    dataset: str
    drift: Drift
    degree: int


@dataclass(frozen=True)
class Analysis:
    """The data of a report with the drift in it.

    Attributes:
        drawn: places to draw, in all features and views together; it bounds the size of the page.
    """

    data: ReportData
    drawn: int = 6_000

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels that can be selected: sites and what they form, where these gave anything, and all together."""
        given = {place for place, _ in self.data.places_named()}
        return (*(level for level in self.data.levels if given.intersection(level.places)), TOGETHER)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """Every level with every data set."""
        found = []
        for i, level in enumerate(self.levels):
            for j, dataset in enumerate(self.data.datasets):
                label = [short(level.name, 40)] if len(self.levels) > 1 else []
                label += [short(dataset, 40)] if len(self.data.datasets) > 1 else []
                found.append(View(level, dataset, f"v l{i} d{j}", ", ".join(label)))
        return tuple(found)

    @cached_property
    def wholes(self) -> tuple[View, ...]:
        """A view for each data set that is shown whatever the level."""
        return tuple(replace(view, selector=f"v d{j}") for j, view in enumerate(self.views[: len(self.data.datasets)]))

    @cached_property
    def drifts(self) -> Mapping[tuple[str, str], Mapping[str, Drift]]:
        """The drift of each place, by feature and selector of the view."""
        found = {}
        for view in self.views:
            for feature in self.data.features:
                drifts = self._compare(feature, view)
                if drifts:
                    found[feature, view.selector] = drifts
        return found

    @cached_property
    def comparisons(self) -> int:
        """Number of comparisons, of which chance makes some look like drift."""
        return sum(len(each) for each in self.drifts.values())

    @cached_property
    def shown(self) -> Mapping[str, int]:
        """The features that are drawn, with their numbers on the page; those with a mark before others."""
        features = self.data.features
        most = min(MAX_FEATURES, max(self.drawn // (len(self.views) * FEWEST_PLACES), 1))
        if len(features) > most:
            marked = {mark.feature for view in self.views for mark in self.marks(view)}
            kept = set(sorted(features, key=lambda feature: feature not in marked)[:most])
            features = tuple(feature for feature in features if feature in kept)
        return {feature: number for number, feature in enumerate(features)}

    @cached_property
    def places_per_feature(self) -> int:
        """The number of places that are drawn of each feature and view, beside all together."""
        each = self.drawn // max(len(self.shown) * len(self.views), 1) - 1
        return max(min(each, MAX_PLACES), FEWEST_PLACES - 1)

    def drifts_of(self, feature: str, view: View) -> Mapping[str, Drift]:
        """Return the drift of each place that can be compared."""
        return self.drifts.get((feature, view.selector), {})

    def drift(self, feature: str, place: str, view: View) -> Drift | None:
        """Return how a place differs from the others of its level; None where nothing can be compared."""
        return self.drifts_of(feature, view).get(place)

    def degree(self, drift: Drift | None) -> int:
        """Return NONE, SHIFT or DRIFT, with regard to the number of comparisons."""
        return NONE if drift is None else drift.degree(CHANCE / max(self.comparisons, 1))

    def may_be_chance(self, drift: Drift) -> bool:
        """Return True if both numbers could well occur without drift."""
        return not drift.beyond_chance(CHANCE / max(self.comparisons, 1))

    def marks(self, view: View) -> list[Mark]:
        """Return the places and features that are marked in a view, the largest drift first."""
        found = []
        for feature in self.data.features:
            for place, drift in self.drifts_of(feature, view).items():
                degree = self.degree(drift)
                if degree != NONE:
                    found.append(Mark(feature, place, view.dataset, drift, degree))
        return sorted(found, key=lambda mark: (-mark.degree, -mark.drift.psi, mark.feature, mark.place))

    def site_marks(self) -> list[Mark]:
        """Return the marks of sites in all data sets, the largest drift first."""
        views = [view for view in self.views if view.level is self.data.levels[0]]
        found = [mark for view in views for mark in self.marks(view)]
        return sorted(found, key=lambda mark: (-mark.degree, -mark.drift.psi))

    def places(self, feature: str, view: View) -> tuple[list[str], int]:
        """Return the places to draw, in the order of the level, and the number of those with values that are left out.

        If there are more than fit, those that differ most are kept.
        """
        most = self.places_per_feature
        present = [place for place in view.level.places if self.has_values(feature, place, view.dataset)]
        if len(present) <= most:
            return present, 0

        def rank(place: str) -> tuple[float, float]:
            drift = self.drift(feature, place, view)
            return (-self.degree(drift), -(drift.psi if drift else 0.0))

        kept = set(sorted(present, key=rank)[:most])
        return [place for place in present if place in kept], len(present) - most

    def has_values(self, feature: str, place: str, dataset: str) -> bool:
        """Return True if anything is known of a feature at a place."""
        statistics = self.data.statistics_of(feature)
        return any(self.data.value(feature, statistic, place, dataset) is not None for statistic in statistics)

    def drifting_places(self, feature: str, view: View) -> Iterator[tuple[str, Drift, int]]:
        """Yield the places of a view that are marked for a feature, drift before shift."""
        marked = [
            (place, drift, degree)
            for place, drift in self.drifts_of(feature, view).items()
            if (degree := self.degree(drift)) != NONE
        ]
        yield from sorted(marked, key=lambda each: (-each[2], -each[1].psi))

    def _compare(self, feature: str, view: View) -> Mapping[str, Drift]:
        places = [place for place in view.level.places if place != GLOBAL]
        histograms = {place: self.data.histogram(feature, place, view.dataset) for place in places}
        known = {place: histogram for place, histogram in histograms.items() if histogram is not None}
        if known:
            return compare_histograms(known)
        return compare_categories({place: self.data.categories(feature, place, view.dataset) for place in places})


def mark_text(degree: int) -> str:
    """Return the sign and the word for a degree of drift; empty for none."""
    return "" if degree == NONE else "▲ drift" if degree == DRIFT else "△ shift"
