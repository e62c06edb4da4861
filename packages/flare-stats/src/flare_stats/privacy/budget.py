"""Answers with differential privacy, charged to the budget in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_stats.privacy import differential
from flare_stats.privacy.differential import Wanted
from flare_stats.privacy.ledger import Entries, Release
from flare_stats.privacy.reply import PARTS, Reply
from flare_stats.privacy.rules import Privacy, Rules

_ROUNDING = 1e-9  # of sums of epsilons


def release_all(
    reply: Reply,
    rules: Rules,
    entries: Entries,
    *,
    run: str,
    source: Callable[[str], str],
    key: Callable[..., str],
) -> None:
    """Replace the statistics of a reply by ones with noise, as far as the budget allows.

    A release that the run has got before is given again, and costs nothing. The others are charged all together, or
    refused all together if the budget is too small.

    Args:
        reply: exact statistics, of values within the bounds of the policy.
        rules: of the site.
        entries: of the ledger.
        run: the run's id.
        source: returns the source of a data set.
        key: returns a text for what tells a release from others.
    """
    assert rules.privacy is not None
    reply.rows, reply.matrices = {}, {}
    reply.refused = []  # reasons such as that there are no values would tell
    plan: list[_Planned] = []
    statistics: dict[tuple[str, str], list[str]] = {}
    for dataset, features in reply.datasets.items():
        for feature in [feature for feature in features if not rules.shows(feature)]:
            del features[feature]
        for feature, values in features.items():
            statistics[dataset, feature] = able = _able(reply, rules, dataset, feature, values)
            for made in differential.wanted_releases(rules, feature, values, able).values():
                own = key(run, dataset, source(dataset), feature, made.name, list(made.detail))
                plan.append(_Planned(own, dataset, source(dataset), feature, made))
    _charge(reply, rules.privacy, entries, plan, run)
    found: dict[tuple[str, str], dict[str, Any]] = {place: {} for place in statistics}
    for each in plan:
        release = entries.release(each.key)
        if release is not None:
            found[each.dataset, each.feature][each.wanted.name] = release.value
    for (dataset, feature), released in found.items():
        made_of = differential.statistics_of(rules, feature, released, reply.datasets[dataset][feature])
        reply.datasets[dataset][feature] = _checked(reply, rules, dataset, feature, made_of)


@dataclass(frozen=True, slots=True)
class _Planned:
    key: str
    dataset: str
    source: str
    feature: str
    wanted: Wanted


def _checked(reply: Reply, rules: Rules, dataset: str, feature: str, found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is forbidden, and all that is of few values by the noisy count, which may be told."""
    if found.get("count", rules.min_count) < rules.min_count:
        rule = f"min_count: fewer than {rules.min_count} values, by the noisy count"
        reply.refuse(dataset, feature, differential.NEEDS, rule)
        return {}
    return {
        name: value
        for name, value in found.items()
        if all(rules.forbids(feature, statistic) is None for statistic in PARTS[name])
    }


def _able(reply: Reply, rules: Rules, dataset: str, feature: str, values: Mapping[str, Any]) -> list[str]:
    """Return the statistics of a feature that can be answered, and note why others are refused."""
    is_summary = "count" in values
    able = []
    for statistic in reply.wanted(feature) if is_summary else ["histogram"]:
        rule = rules.forbids(feature, statistic) or differential.refusal(rules, feature, statistic)
        if statistic == "histogram" and "histogram" in values:
            bins = len(values["histogram"]["counts"])
            rule = rule or (f"max_bins: {bins:,} bins" if bins > rules.max_bins else None)
        if rule is None:
            able.append(statistic)
        else:
            reply.refuse(dataset, feature, [statistic], rule)
    if is_summary and able and rules.forbids(feature, "count") is None:
        able.append("count")  # by which the others are merged
    return able


def _charge(reply: Reply, privacy: Privacy, entries: Entries, plan: Sequence[_Planned], run: str) -> None:
    """Draw and charge the releases that are not in the ledger."""
    new = [each for each in plan if entries.release(each.key) is None]
    costs = [differential.cost(privacy, each.wanted.name) for each in new]
    epsilon, delta = sum(each for each, _ in costs), sum(each for _, each in costs)
    spent, spent_delta = entries.spent()
    rule = None
    if spent + epsilon > privacy.total_epsilon * (1 + _ROUNDING):
        left = max(privacy.total_epsilon - spent, 0.0)
        rule = f"total_epsilon: the question needs {epsilon:g}, and {left:g} of {privacy.total_epsilon:g} are left"
    elif spent_delta + delta > privacy.total_delta * (1 + _ROUNDING):
        left = max(privacy.total_delta - spent_delta, 0.0)
        rule = f"total_delta: the question needs {delta:g}, and {left:g} of {privacy.total_delta:g} are left"
    for each in new:
        if rule is not None:
            reply.refuse(each.dataset, each.feature, differential.made_of(each.wanted.name), rule)
            continue
        value, scale, spent, spent_delta = differential.release(privacy, each.wanted)
        names = (run, each.source, each.dataset, each.feature, each.wanted.name, privacy.mechanism)
        entries.add_release(each.key, Release(*names, scale, spent, spent_delta, value))
