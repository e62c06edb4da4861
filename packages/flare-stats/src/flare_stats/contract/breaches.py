"""Breach: a rule that data break, in words that may leave the site, and details that stay there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LEAST = 10
"""The smallest number of people that a message tells, unless a policy asks for more."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken rule.

    ``detail`` can hold values of the site's people and stays there; the rest may leave the site.

    Attributes:
        column: the column; empty for a rule of the whole table.
        rule: the key of the rule in the contract.
        found: what the data are.
        expected: what the contract asks for.
        cause: the likely cause; empty if none is apparent.
        detail: more for the site's own log.
    """

    column: str
    rule: str
    found: str
    expected: str
    cause: str = ""
    detail: str = ""

    def to_data(self) -> dict[str, str]:
        """Return what may leave the site."""
        return {
            "column": self.column,
            "rule": self.rule,
            "found": self.found,
            "expected": self.expected,
            "cause": self.cause,
        }


def text_of(breaches: Sequence[Breach], *, details: bool = False) -> str:
    """Return broken rules as lines of text, grouped by their columns.

    Args:
        breaches: the broken rules, those of a column one after the other.
        details: include what must stay at the site.
    """
    lines: list[str] = []
    for index, each in enumerate(breaches):
        if index == 0 or breaches[index - 1].column != each.column:
            lines.append(each.column or "the table")
        lines.append(f"  {each.rule}: {each.found}; expected: {each.expected}")
        if details and each.detail:
            lines.append(f"    {each.detail}")
        is_last = index + 1 == len(breaches) or breaches[index + 1].column != each.column
        if is_last and (causes := dict.fromkeys(one.cause for one in breaches if one.column == each.column)):
            lines += [f"  likely cause: {cause}" for cause in causes if cause]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Telling:
    """Words for counts of people, as exact as may leave a site.

    Attributes:
        least: the smallest number of people that is told, also of those that are not counted.
        round_to: counts are rounded to multiples of this number.
    """

    least: int = LEAST
    round_to: int = 1

    def counted(self, count: int, total: int, what: str) -> str:
        """Return a count and its share.

        Args:
            count: how many.
            total: of how many.
            what: what is counted, such as ``"values"``.
        """
        of = self._count(total)
        if 0 < count < self.least:
            return f"fewer than {self.least} of {of} {what}"
        if 0 < total - count < self.least:
            return f"all but fewer than {self.least} of {of} {what}"
        return f"{self._count(count)} of {of} {what} ({share_text(count / total if total else 0.0)})"

    def total(self, count: int, what: str) -> str:
        """Return a count."""
        return f"fewer than {self.least} {what}" if 0 < count < self.least else f"{self._count(count)} {what}"

    def _count(self, count: int) -> str:
        return f"{round(count / self.round_to) * self.round_to:,}"


def distance_text(distance: float) -> str:
    """Return a distance between distributions in whole percent."""
    return f"{int(100 * distance + 1e-9)} %"


def share_text(share: float) -> str:
    """Return a share in percent, with as many digits as tell it from 0 and 100."""
    percent = 100 * share
    if 0 < percent < 0.1 or 99.9 < percent < 100:
        return f"{percent:.2g} %" if percent < 50 else "almost 100 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


def number_text(number: float, kind: str = "float") -> str:
    """Return a number of a contract as people write it; of kind ``datetime``, a date."""
    if kind == "datetime":
        return moment_text(number)
    return f"{number:.10g}"


def moment_text(seconds: float) -> str:
    """Return a moment as a date, with the time if it is not midnight."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds:.6g} seconds since 1970"
    return moment.date().isoformat() if seconds % 86400 == 0 else moment.replace(tzinfo=None).isoformat()
