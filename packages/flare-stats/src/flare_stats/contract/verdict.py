"""Verdict: what a site tells the server about its data and a contract. It holds no value of a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_stats.contract.breaches import Breach, text_of

MOST_BREACHES = 1000
MOST_LINES = 100
"""Lines about one site in an error."""
MOST_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """The broken rules of a site.

    Attributes:
        site: the site's name.
        rows: the number of its rows, rounded down to two digits; None if they could not be read.
        broken: the broken rules, without their details.
    """

    site: str
    rows: int | None
    broken: tuple[Breach, ...]

    def to_data(self) -> dict[str, Any]:
        """Return what travels to the server."""
        return {"rows": self.rows, "broken": [each.to_data() for each in self.broken]}

    @classmethod
    def from_data(cls, site: str, data: Any) -> Verdict:
        """Read what a site has sent; whatever does not belong there is left out."""
        given = data if isinstance(data, Mapping) else {}
        rows = given.get("rows")
        broken = given.get("broken")
        entries = broken[:MOST_BREACHES] if isinstance(broken, list) else [{"rule": "data", "found": "no verdict"}]
        names = ("column", "rule", "found", "expected", "cause")
        read = [
            Breach(*(str(each.get(name, ""))[:MOST_CHARACTERS] for name in names))
            for each in entries
            if isinstance(each, Mapping)
        ]
        return cls(site, rows if isinstance(rows, int) else None, tuple(read))


def text_of_all(name: str, verdicts: Iterable[Verdict], folder: str) -> str:
    """Return the broken rules of several sites as text.

    Args:
        name: the contract's name.
        verdicts: of the sites; those without broken rules are left out.
        folder: the name of the file with the details at each site.
    """
    broken = [each for each in verdicts if each.broken]
    whose = f"{broken[0].site} break" if len(broken) == 1 else f"{len(broken)} sites break"
    lines = [f"the data of {whose} the contract {name!r}; {folder} in the site's own folder has the details"]
    for verdict in broken:
        lines.append(f"{verdict.site}:")
        text = [f"  {line}" for line in text_of(verdict.broken).splitlines()]
        lines += text[:MOST_LINES]
        if len(text) > MOST_LINES:
            lines.append(f"  … and {len(text) - MOST_LINES} lines more; contract.json in the server's folder has all")
    return "\n".join(lines)


def rows_of(verdicts: Sequence[Verdict]) -> list[tuple[str, str, str, str, str]]:
    """Return a table of verdicts: site, column, rule, what was found, and the likely cause."""
    rows = []
    for verdict in verdicts:
        if not verdict.broken:
            rows.append((verdict.site, "", "", "keeps the contract", ""))
        for each in verdict.broken:
            rows.append((verdict.site, each.column or "(table)", each.rule, each.found, each.cause))
    return rows
