"""The server's collection of each site's own statistics, from which follow those of groups of sites.

Tasks and their data, beside those of :mod:`flare_stats.shared_key`; ``start`` is {"config", "kinds"}, with which a site
that was started again can do any of them:

    stats.describe   {"config"}           -> {"datasets": {dataset: [[feature, kind], …]}}
    stats.summarize  {"start"}            -> {"datasets": {dataset: {feature: {statistic: value}}},
                                              "rows": {dataset: n}, "matrices": {dataset: …},
                                              "refused": [[dataset, feature, statistic, rule], …]}
    stats.bins       {"start", "edges": {feature: edges}, "means": {dataset: {feature: [mean, count]}}}
                                          -> {"datasets": {dataset: {feature: {statistic: value}}}, "refused": […]}
    stats.ranks      {"start", "thresholds": {dataset: {feature: array}}}
                                          -> {"counts": {dataset: {feature: array}}}
    stats.finish     {}                   -> {}

``edges`` are those of histograms whose range was found. ``means`` are of features of which a site has no variance of
its own, for generators with ``variance_with_mean``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flare_core import Federation
from flare_stats.agreement import agreed_kinds, edges_of
from flare_stats.algebra import Distinct
from flare_stats.answers import (
    check_counts,
    check_description,
    check_edges,
    check_matrices,
    check_refused,
    check_rows,
    check_values,
)
from flare_stats.asking import Sites
from flare_stats.config import Settings
from flare_stats.errors import StatsError
from flare_stats.hierarchy import GLOBAL
from flare_stats.merging import merged
from flare_stats.quantiles import Brackets, Key, Search
from flare_stats.shared_key import share_key

LEFT = "the site left or was late"
Places = Mapping[str, Sequence[str]]
"""The sites of each place: of a site itself, of a group, of all."""


class Collection:
    """The answers of the sites so far.

    Args:
        settings: what is computed.
    Attributes:
        kinds: of each feature.
        datasets: names of all data sets.
        values: statistics by site, data set and feature.
        rows: numbers of rows by site and data set.
        refused: [site, dataset, feature, statistic, reason].
    """

    is_masked = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kinds: dict[str, str] = {}
        self.values: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        self.matrices: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, dict[str, float]] = {}
        self.refused: list[list[str]] = []
        self._quantiles: dict[Key, dict[float, float]] = {}

    @property
    def members(self) -> list[str]:
        """The sites whose statistics were collected."""
        return list(self.values)

    def places(self, groups: Places) -> Places:
        """Return the sites of each place: of every site, of the groups, and of all."""
        of_groups = {name: [site for site in sites if site in self.values] for name, sites in groups.items()}
        return {**{site: [site] for site in self.values}, **of_groups, GLOBAL: self.members}

    def summarize(self, fed: Federation, sites: Sites) -> None:
        """Agree on the features, and collect what one pass over the data tells."""
        asked = {site: {"config": self.settings.plain} for site in sites.present()}
        described = {site: check_description(site, each) for site, each in sites.ask("stats.describe", asked).items()}
        self._warn_lost(fed, [site for site in asked if site not in described])
        self._use_kinds(fed, described)
        if "distinct" in self.settings.plain:
            share_key(sites, list(described), fed.job_id.encode())
        asked = {site: {"start": self._start} for site in described}
        for site, data in sites.ask("stats.summarize", asked).items():
            self.values[site] = check_values(site, data, described[site])
            self.matrices[site] = check_matrices(site, data, described[site])
            self._check_given_edges(site)
            self.rows[site] = check_rows(site, data)
            self._refuse(site, check_refused(site, data))
        lost = [site for site in asked if site not in self.values]
        self._warn_lost(fed, lost)

    def _check_given_edges(self, site: str) -> None:
        for features in self.values[site].values():
            for feature, values in features.items():
                options = self.settings.options("histogram", feature, self.kinds[feature])
                if options is not None and options["range"] is not None:
                    low, high = options["range"]
                    check_edges(site, feature, values, edges_of(low, high, options["bins"]))
                else:
                    values.pop("histogram", None)

    def _use_kinds(self, fed: Federation, described: Mapping[str, Mapping[str, Sequence[Sequence[str]]]]) -> None:
        self.kinds, warnings = agreed_kinds(described)
        for warning in warnings:
            fed.warn(warning)
        self.settings.check_names(self.kinds)

    def find_bins(self, fed: Federation, sites: Sites) -> None:
        """Collect the histograms whose ranges had to be found."""
        edges, means = self._found_edges(fed), self._means()
        if not edges and not means:
            return
        asked = {}
        for site in sites.present(self.values):
            own = {feature for features in self.values[site].values() for feature in features}
            of_site = {feature: each for feature, each in edges.items() if feature in own}
            asked[site] = {"start": self._start, "edges": of_site, "means": means}
        answers = sites.ask("stats.bins", asked)
        for site, data in answers.items():
            described = {name: [[each, ""] for each in features] for name, features in self.values[site].items()}
            for dataset, features in check_values(site, data, described).items():
                for feature, values in features.items():
                    check_edges(site, feature, values, edges.get(feature, ()))
                    self.values[site][dataset][feature] |= values
            self._refuse(site, check_refused(site, data))
        lost = [site for site in self.values if site not in answers]
        self._warn_lost(fed, lost)
        self._refuse_lost(lost, "histogram", edges)

    def find_quantiles(self, fed: Federation, sites: Sites, places: Places) -> None:
        """Find the quantiles at each place; if a site leaves meanwhile, those of the others.

        Args:
            fed: the federation.
            sites: asks them.
            places: the sites of each place.
        """
        self._refuse_own_quantiles()
        left = [site for site in sites.present(self.values) if self._has_ranks(site)]
        while left:
            answered = self._search(sites, left, places)
            if len(answered) == len(left):
                break
            left = answered
        lost = [site for site in self.values if self._has_ranks(site) and site not in left]
        self._warn_lost(fed, lost)
        self._refuse_lost(lost, "quantile", self.kinds)

    def _refuse_own_quantiles(self) -> None:
        """Note where sites have quantiles of their own that cannot be merged."""
        for dataset, feature in self._features():
            own = [
                site
                for site, datasets in self.values.items()
                if "own" in datasets.get(dataset, {}).get(feature, {}).get("quantile", {})
            ]
            if own:
                rule = (
                    f"the generator of {', '.join(own)} has quantiles(), but no ranks(), which those of all are made of"
                )
                self.refused.append([GLOBAL, dataset, feature, "quantile", rule])

    def _search(self, sites: Sites, able: Sequence[str], places: Places) -> list[str]:
        """Search among the values of some sites; return those that stayed to the end, or are left when one is lost."""
        brackets, members = {}, {}
        for place, of_place in places.items():
            for dataset, feature in self._features():
                ranked = [site for site in of_place if site in able and self._ranked(site, dataset, feature)]
                total = sum(self._ranked(site, dataset, feature) for site in ranked)
                options = self.settings.options("quantile", feature, self.kinds[feature])
                if total and options:
                    brackets[place, dataset, feature] = Brackets(total, options)
                    members[place, dataset, feature] = ranked
        search = Search(brackets, members)
        while questions := search.questions():
            asked = {site: {"start": self._start, "thresholds": questions[site]} for site in questions}
            answers = sites.ask("stats.ranks", asked)
            if len(answers) < len(asked):
                return [site for site in able if site in answers or site not in asked]
            search.narrow({site: _counts(site, data, questions[site]) for site, data in answers.items()})
        self._quantiles = search.result()
        return list(able)

    def at(self, place: str, members: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield the statistics of a place, of each data set and feature."""
        for dataset, feature in self._features():
            parts = [
                self.values[site][dataset][feature]
                for site in members
                if feature in self.values.get(site, {}).get(dataset, {})
            ]
            if not parts:
                continue
            values = merged(parts) | {"quantile": self._quantiles.get((place, dataset, feature), {})}
            if len(parts) == 1 and not values["quantile"]:
                values["quantile"] = dict(parts[0].get("quantile", {}).get("own", {}))
            yield dataset, feature, values

    def rank_error(self) -> float:
        """Return the largest error of a rank, as a share of the values."""
        errors = [
            float(values["quantile"].get("error", 0.0))
            for datasets in self.values.values()
            for features in datasets.values()
            for values in features.values()
            if "quantile" in values
        ]
        return max(errors, default=0.0)

    def distinct_error(self) -> float:
        """Return the largest relative standard error of a number of distinct values, for that of all sites."""
        errors = []
        for dataset, feature in self._features():
            parts = [each[dataset][feature] for each in self.values.values() if feature in each.get(dataset, {})]
            if any("distinct" in part for part in parts):
                errors.append(Distinct.from_data(merged(parts)["distinct"]).relative_error)
        return max(errors, default=0.0)

    @property
    def _start(self) -> dict[str, Any]:
        return {"config": self.settings.plain, "kinds": self.kinds}

    def _features(self) -> list[tuple[str, str]]:
        datasets = dict.fromkeys(dataset for each in self.values.values() for dataset in each)
        return [(dataset, feature) for feature in self.kinds for dataset in datasets]

    def _ranked(self, site: str, dataset: str, feature: str) -> int:
        quantile = self.values[site].get(dataset, {}).get(feature, {}).get("quantile", {})
        return int(quantile.get("count", 0))

    def _has_ranks(self, site: str) -> bool:
        return any(self._ranked(site, *each) for each in self._features())

    def _found_edges(self, fed: Federation) -> dict[str, list[float]]:
        edges = {}
        for feature, kind in self.kinds.items():
            options = self.settings.options("histogram", feature, kind)
            if options is None or options["range"] is not None:
                continue
            values = [of[feature] for each in self.values.values() for of in each.values() if feature in of]
            lows, highs = ([each[name] for each in values if name in each] for name in ("min", "max"))
            if not lows or not highs:
                continue
            try:
                edges[feature] = edges_of(min(lows), max(highs), options["bins"])
            except StatsError as error:
                fed.warn(f"no histogram of {feature}: {error}; give a range in statistic_configs")
                self._refuse_lost(list(self.values), "histogram", {feature: edges}, str(error))
        return edges

    def _means(self) -> dict[str, dict[str, list[float]]]:
        """Return mean and count of the features of which a site has values, but no variance."""
        means: dict[str, dict[str, list[float]]] = {}
        for dataset, feature in self._features():
            names = {*self.settings.of_feature(feature, self.kinds[feature])}
            parts = [each[dataset][feature] for each in self.values.values() if feature in each.get(dataset, {})]
            lacking = [each for each in parts if each.get("count", 0) > 1 and "mean" in each and "var" not in each]
            if names & {"var", "stddev"} and lacking:
                together = merged(parts)
                means.setdefault(dataset, {})[feature] = [together["mean"], together["count"]]
        return means

    def _refuse(self, site: str, rows: Sequence[Sequence[str]]) -> None:
        """Note what a site refused, of the statistics that a feature of its kind has or that name it; each once."""
        known = {tuple(row[:4]) for row in self.refused}
        for dataset, feature, statistic, rule in rows:
            if (site, dataset, feature, statistic) in known:
                continue
            known.add((site, dataset, feature, statistic))
            kind = self.kinds.get(feature)
            named = feature in self.settings.plain.get(statistic, ())
            if kind is None or named or self.settings.options(statistic, feature, kind) is not None:
                self.refused.append([site, dataset, feature, statistic, rule])

    def _refuse_lost(
        self, lost: Sequence[str], statistic: str, features: Mapping[str, Any], reason: str = LEFT
    ) -> None:
        for site in lost:
            for dataset, values in self.values[site].items():
                for feature in values:
                    wanted = self.settings.of_feature(feature, self.kinds[feature])
                    if feature in features and statistic in wanted and values[feature].get("count", 0) > 0:
                        self.refused.append([site, dataset, feature, statistic, reason])

    @staticmethod
    def _warn_lost(fed: Federation, lost: Sequence[str]) -> None:
        if lost:
            fed.warn(f"{', '.join(lost)} left or was late; the statistics go on without it")

    def to_plain(self) -> dict[str, Any]:
        """Return all that was collected as plain data."""
        kept = {name: getattr(self, name) for name in ("kinds", "values", "matrices", "rows", "refused")}
        quantiles = [[*key, list(of), list(of.values())] for key, of in self._quantiles.items()]
        return {**kept, "quantiles": quantiles}

    def use_plain(self, plain: Mapping[str, Any]) -> None:
        """Take such data."""
        for name in ("kinds", "values", "matrices", "rows", "refused"):
            setattr(self, name, plain[name])
        self._quantiles = {
            (place, dataset, feature): dict(zip(fractions, values, strict=True))
            for place, dataset, feature, fractions, values in plain["quantiles"]
        }


def _counts(site: str, data: Mapping[str, Any], asked: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    counts = data.get("counts", {})
    return {
        dataset: {
            feature: check_counts(site, counts.get(dataset, {}).get(feature), len(thresholds))
            for feature, thresholds in features.items()
        }
        for dataset, features in asked.items()
    }
