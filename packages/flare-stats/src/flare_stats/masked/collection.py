"""The server's collection of totals over all sites, of which it sees no site's own numbers.

Tasks beside ``stats.describe`` and ``stats.finish``; ``start`` as in :mod:`flare_stats.collection`:

    stats.offer  {"start"}                        -> {"offered": {dataset: {feature: [part, …]}},
                                                      "matrices": {dataset: [feature, …]}, "refused": […]}
    stats.key    {}                               -> {"key"}: the site's public key, of a new pair
    stats.keys   {"keys": {site: key}, "session", "epoch"}
                                                  -> {}
    stats.total  {"start", "epoch", "about", …}   -> {"numbers": uint64 array} or {"is_behind": True}

What a total is about, with the rest of the task:

    sums         {"offer", "matrices"}: the numbers of a :class:`~flare_stats.masked.layout.Layout`
    bins         {"offer", "edges", "means"}: histograms whose range was found
    extremes     {"thresholds": {"min" or "max": {dataset: {feature: array}}}}: how many sites reach them
    ranks        {"thresholds": {"": {dataset: {feature: array}}}}: how many values are at most each

The sites are those that answered at first. From then on all of them must: totals with and without a site would tell its
own numbers. A total may be asked for again, under fresh masks.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as Names
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Federation, SiteError
from flare_masking import add_masked
from flare_stats.agreement import edges_of
from flare_stats.answers import check_description, check_offer, check_refused
from flare_stats.asking import Sites
from flare_stats.collection import Collection, Places
from flare_stats.config import Settings
from flare_stats.hierarchy import GLOBAL
from flare_stats.masked.layout import COUNTS, Layout, split
from flare_stats.merging import to_float
from flare_stats.quantiles import Brackets, Key, Search
from flare_stats.site import BEYOND

_MOST_RETURNS = 5  # of sites, while one total is asked for
_ALL = "*"  # the sites together
_ENDS = ("min", "max")


class MaskedCollection(Collection):
    """Totals over all sites; its one place is ``Global``.

    Args:
        settings: what is computed.
        min_count: the least number of values that a statistic of all sites may be of.
        max_bins_percent: the most bins of a histogram, in percent of the number of values; 100 allows any.
    """

    is_masked = True

    def __init__(self, settings: Settings, min_count: int = 0, max_bins_percent: float = 100) -> None:
        super().__init__(settings)
        self.min_count = min_count
        self.max_bins_percent = max_bins_percent
        self._members: list[str] = []
        self._offer: dict[str, dict[str, list[str]]] = {}
        self._rank_error = 0.0
        self._totals: _Totals | None = None

    @property
    def members(self) -> list[str]:
        """The sites whose numbers are in the totals."""
        return self._members

    def places(self, groups: Places) -> Places:
        """Return the one place; there are no groups."""
        return {GLOBAL: (GLOBAL,)}

    def summarize(self, fed: Federation, sites: Sites) -> None:
        """Agree on sites and features, and collect the totals of what one pass over the data tells.

        Raises:
            SiteError: only one site is left.
        """
        asked = {site: {"config": self.settings.plain} for site in sites.present()}
        described = {site: check_description(site, each) for site, each in sites.ask("stats.describe", asked).items()}
        self._warn_lost(fed, [site for site in asked if site not in described])
        self._use_kinds(fed, described)
        offers = sites.ask("stats.offer", {site: {"start": self._start} for site in described})
        self._warn_lost(fed, [site for site in described if site not in offers])
        if len(offers) < 2:
            alone = ", ".join(offers)
            raise SiteError(f"{alone}: a total of fewer than two sites would be the site's own", site=alone)
        self._members = list(offers)
        self._choose(offers, described)
        counts = self._sums(fed, sites, COUNTS, {})
        self._drop_small({key: each["count"] for key, each in counts.items()})
        sums = self._sums(fed, sites, ("sum", "squares", "categories", "histogram"), self._common_matrices(offers))
        self.values = {GLOBAL: {}}
        for (dataset, feature), of_counts in counts.items():
            if feature in self._offer.get(dataset, {}):
                values = self._values_of(feature, of_counts | sums.get((dataset, feature), {}))
                self._drop_infinite(dataset, feature, values)
                self.values[GLOBAL].setdefault(dataset, {})[feature] = values
        self._find_extremes(fed, sites)

    def find_bins(self, fed: Federation, sites: Sites) -> None:
        """Collect the histograms whose ranges had to be found."""
        edges = self._found_edges(fed)
        wanted = self._parts(("histogram",), lambda feature: feature in edges)
        if not wanted:
            return
        layout = Layout(self.settings, self.kinds, wanted)
        total = self._total(fed, sites, "bins", layout.length, {"offer": wanted, "edges": edges})
        for dataset, features in layout.read(total).items():
            for feature, found in features.items():
                histogram = {"edges": edges[feature], "counts": found["histogram"]}
                self.values[GLOBAL][dataset][feature]["histogram"] = histogram

    def find_quantiles(self, fed: Federation, sites: Sites, places: Places) -> None:
        """Find the quantiles of all values.

        Args:
            fed: the federation.
            sites: asks them.
            places: without effect.
        """
        wanted = self._parts(("ranks",), lambda feature: True)
        infinite = np.array([np.inf])
        first = {dataset: dict.fromkeys(features, infinite) for dataset, features in wanted.items()}
        if not first:
            return
        totals = self._ranks(fed, sites, first)
        brackets = {
            (GLOBAL, dataset, feature): Brackets(int(total[0]), self._options(feature))
            for dataset, features in totals.items()
            for feature, total in features.items()
        }
        search = Search(brackets, dict.fromkeys(brackets, (_ALL,)))
        while questions := search.questions():
            search.narrow({_ALL: self._ranks(fed, sites, questions[_ALL])})
        self._quantiles = search.result()

    def rank_error(self) -> float:
        """Return the largest error of a rank at a site, as a share of its values."""
        return self._rank_error

    def _options(self, feature: str) -> list[float]:
        options: list[float] = self.settings.options("quantile", feature, self.kinds[feature])
        return options

    def _choose(self, offers: Mapping[str, Mapping[str, Any]], described: Mapping[str, Any]) -> None:
        """Choose the parts that all sites with a feature give, if those are two or more."""
        for site, data in offers.items():
            check_offer(site, data, described[site])
            self._refuse(site, check_refused(site, data))
            self._rank_error = max(self._rank_error, float(data.get("rank_error", 0.0)))
        for dataset, feature in self._offered(offers):
            givers = {
                site: list(data["offered"][dataset][feature])
                for site, data in offers.items()
                if feature in data["offered"].get(dataset, {})
            }
            if len(givers) < 2:
                rule = "masked: no other site has it, so that a total would be its own"
                self._refuse_all(givers, dataset, feature, rule)
                continue
            parts = next(iter(givers.values()))
            lacking = {part: [site for site, of in givers.items() if part not in of] for part in parts}
            for part, without in lacking.items():
                if without:
                    self._refuse_all(givers, dataset, feature, f"masked: {without[0]} gives no {part}", part)
            self._offer.setdefault(dataset, {})[feature] = [part for part in parts if not lacking[part]]

    @staticmethod
    def _offered(offers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        found = dict.fromkeys(
            (dataset, feature)
            for data in offers.values()
            for dataset, features in data["offered"].items()
            for feature in features
        )
        return list(found)

    def _refuse_all(self, sites: Names[str], dataset: str, feature: str, rule: str, part: str = "") -> None:
        wanted = [part] if part else self.settings.of_feature(feature, self.kinds[feature])
        self.refused += [[site, dataset, feature, statistic, rule] for site in sites for statistic in wanted]

    def _common_matrices(self, offers: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for dataset in self._offer:
            of_sites = [data["matrices"][dataset] for data in offers.values() if dataset in data["matrices"]]
            common = [
                name
                for name in (of_sites[0] if len(of_sites) > 1 else ())
                if all(name in each for each in of_sites) and name in self._offer[dataset]
            ]
            if common:
                found[dataset] = common
        return found

    def _drop_small(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Ask nothing more about features with few values."""
        for (dataset, feature), count in counts.items():
            parts = self._offer[dataset][feature]
            bins = self.settings.options("histogram", feature, self.kinds[feature])
            most = max(1.0, count * self.max_bins_percent / 100) if self.max_bins_percent < 100 else math.inf
            if "histogram" in parts and bins["bins"] > most:
                parts.remove("histogram")
                rule = f"max_bins_percent: more bins than {self.max_bins_percent:g} % of the values of all sites"
                self._refuse_all(self._members, dataset, feature, rule, "histogram")
            if count < self.min_count:
                del self._offer[dataset][feature]
                rule = f"min_count: all sites together have fewer than {self.min_count} values"
                self._refuse_all(self._members, dataset, feature, rule)

    def _parts(self, names: Names[str], chosen: Callable[[str], bool]) -> dict[str, dict[str, list[str]]]:
        found: dict[str, dict[str, list[str]]] = {}
        for dataset, features in self._offer.items():
            for feature, parts in features.items():
                if chosen(feature) and (some := [part for part in parts if part in names]):
                    found.setdefault(dataset, {})[feature] = some
        return found

    def _has_range(self, feature: str) -> bool:
        options = self.settings.options("histogram", feature, self.kinds[feature])
        return options is not None and options["range"] is not None

    def _sums(
        self, fed: Federation, sites: Sites, names: Names[str], matrices: Mapping[str, Sequence[str]]
    ) -> dict[tuple[str, str], dict[str, Any]]:
        wanted = self._parts(names, lambda feature: True)
        if "histogram" in names:
            for features in wanted.values():
                for feature, parts in features.items():
                    if "histogram" in parts and not self._has_range(feature):
                        parts.remove("histogram")
        layout = Layout(self.settings, self.kinds, wanted, matrices)
        total = self._total(fed, sites, "sums", layout.length, {"offer": wanted, "matrices": matrices})
        self.matrices = {GLOBAL: layout.read_matrices(total)}
        found = layout.read(total)
        return {(dataset, feature): each for dataset, of in found.items() for feature, each in of.items()}

    def _values_of(self, feature: str, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return statistics as sites have them from the parts of a total."""
        values: dict[str, Any] = {name: parts[name] for name in COUNTS if name in parts}
        count = values["count"]
        if "sum" in parts:
            values["sum"] = to_float(parts["sum"])
            if count > 0:
                mean = parts["sum"] / count  # between the least and the greatest value, so no float overflows
                values |= {"mean": float(mean), "mean_low": float(mean - Fraction(float(mean)))}
        if "squares" in parts and count > 1:
            around = parts["squares"] - parts["sum"] ** 2 / count
            values["var"] = max(to_float(around / (count - 1)), 0.0)
        if "histogram" in parts:
            options = self.settings.options("histogram", feature, self.kinds[feature])
            low, high = options["range"]
            values["histogram"] = {"edges": edges_of(low, high, options["bins"]), "counts": parts["histogram"]}
        if "categories" in parts:
            *names, _ = parts["categories"]
            values["categories"] = {name: parts["categories"][name] for name in names}
            values["categories_other"] = parts["categories"][None]
        return values

    def _drop_infinite(self, dataset: str, feature: str, values: dict[str, Any]) -> None:
        for name in [name for name, each in values.items() if isinstance(each, float) and math.isinf(each)]:
            del values[name]
            for site in self._members:
                told = ("var", "stddev") if name == "var" else (name,)
                self._refuse(site, [[dataset, feature, each, BEYOND] for each in told])

    def _find_extremes(self, fed: Federation, sites: Sites) -> None:
        """Find minimum and maximum by counting the sites that reach thresholds."""
        wanted = self._parts(("range",), lambda feature: True)
        keys: list[tuple[str, str]] = [(dataset, feature) for dataset, of in wanted.items() for feature in of]
        searches = {end: self._search_end(keys) for end in _ENDS}
        while questions := {end: each[_ALL] for end, of in searches.items() if (each := of.questions())}:
            lengths = [len(each) for of in questions.values() for features in of.values() for each in features.values()]
            total = self._total(fed, sites, "extremes", sum(lengths), {"thresholds": questions})
            counts = split(total, questions)
            for end, of_end in counts.items():
                searches[end].narrow({_ALL: of_end})
        for end, search in searches.items():
            for (_, dataset, feature), found in search.result().items():
                if found:
                    self.values[GLOBAL][dataset][feature][end] = found[0.0] if end == "min" else -found[0.0]

    @staticmethod
    def _search_end(keys: Sequence[tuple[str, str]]) -> Search:
        brackets: dict[Key, Brackets] = {(GLOBAL, *key): Brackets(1, [0.0]) for key in keys}
        return Search(brackets, dict.fromkeys(brackets, (_ALL,)))

    def _ranks(
        self, fed: Federation, sites: Sites, thresholds: Mapping[str, Mapping[str, NDArray[np.float64]]]
    ) -> dict[str, dict[str, NDArray[np.int64]]]:
        length = sum(len(each) for features in thresholds.values() for each in features.values())
        total = self._total(fed, sites, "ranks", length, {"thresholds": {"": thresholds}})
        return split(total, {"": thresholds})[""]

    def _total(
        self, fed: Federation, sites: Sites, about: str, length: int, details: Mapping[str, Any]
    ) -> NDArray[np.int64]:
        if self._totals is None:
            self._totals = _Totals(fed, sites, self._members)
        return self._totals.ask({"start": self._start, "about": about, **details}, length)

    def to_plain(self) -> dict[str, Any]:
        """Return all that was collected as plain data."""
        more = {"members": self._members, "offer": self._offer, "rank_error": self._rank_error}
        return {**super().to_plain(), **more}

    def use_plain(self, plain: Mapping[str, Any]) -> None:
        """Take such data."""
        super().use_plain(plain)
        self._members, self._offer = list(plain["members"]), plain["offer"]
        self._rank_error = plain["rank_error"]


class _Totals:
    """Totals over the same sites, each under masks of its own.

    Args:
        fed: the federation.
        sites: asks them.
        members: their names.
    """

    def __init__(self, fed: Federation, sites: Sites, members: Sequence[str]) -> None:
        self._fed = fed
        self._sites = sites
        self._members = members
        self._epoch: int | None = None

    def ask(self, task: Mapping[str, Any], length: int) -> NDArray[np.int64]:
        """Return the total of the numbers that the sites answer.

        Raises:
            SiteError: a site left, answers something else, or was started again too often; names it.
        """
        for _ in range(_MOST_RETURNS):
            if self._epoch is None:
                self._epoch = self._agree()
            asked = {site: {**task, "epoch": self._epoch} for site in self._members}
            answers = self._sites.ask("stats.total", asked, quorum=len(asked))
            behind = [site for site, data in answers.items() if data.get("is_behind")]
            if not behind:
                return self._added(answers, length)
            self._epoch = None  # all sites mask with new keys
        raise SiteError(
            f"{behind[0]} was started again {_MOST_RETURNS} times while one total was asked for", site=behind[0]
        )

    def _agree(self) -> int:
        keys = self._sites.ask("stats.key", {site: {} for site in self._members}, quorum=len(self._members))
        epoch = secrets.randbits(62)
        agreed = {
            "keys": {site: data["key"] for site, data in keys.items()},
            "session": self._fed.job_id.encode(),
            "epoch": epoch,
        }
        self._sites.ask("stats.keys", {site: agreed for site in self._members}, quorum=len(self._members))
        return epoch

    @staticmethod
    def _added(answers: Mapping[str, Mapping[str, Any]], length: int) -> NDArray[np.int64]:
        total = np.zeros(length, np.int64)
        for site, data in answers.items():
            numbers = data.get("numbers")
            if not isinstance(numbers, np.ndarray) or numbers.dtype != np.uint64 or numbers.shape != total.shape:
                raise SiteError(
                    f"{site}: its part of a total is {numbers!r:.80} where {length} masked numbers are expected; all"
                    " sites need the same version of flare-stats",
                    site=site,
                )
            add_masked(total, numbers)
        return total
