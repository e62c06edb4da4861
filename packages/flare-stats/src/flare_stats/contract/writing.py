"""Contracts as YAML, for people to read and edit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from flare_stats.contract.breaches import moment_text
from flare_stats.contract.model import SHIFT, VERSION, ColumnRules, Contract

_PLAIN = re.compile(r"[^\W\d][\w./%°²³µ-]*( [\w./%°²³µ-]+)*")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,6})?", re.ASCII)
_WIDTH = 110

HEADER = """\
# A data contract: what a table must be like, before a model is trained with it.
# Shares are from 0 to 1. Delete a line to drop a rule; docs/data-contract.md describes them all.
"""


def text_of(contract: Contract) -> str:
    """Return a contract as YAML, which :func:`~flare_stats.contract.reading.parse` reads back unchanged."""
    return HEADER + "\n".join(_lines(contract)) + "\n"


def _lines(contract: Contract) -> Iterator[str]:
    yield f"contract: {VERSION}"
    yield f"name: {scalar(contract.name)}"
    lowest, highest = contract.rows
    yield f"rows: [{lowest}, {'unlimited' if highest is None else highest}]"
    if contract.reference_rows is not None:
        yield f"reference_rows: {contract.reference_rows}"
    if contract.ordered:
        yield "ordered: true"
    if not contract.extra:
        yield "extra: false"
    if contract.repeated_rows < 1:
        yield f"repeated_rows: {_number(contract.repeated_rows)}"
    if contract.keys:
        yield "keys:"
        yield from (f"- {_list(key)}" for key in contract.keys)
    if contract.label is not None:
        yield "label:"
        yield f"  column: {scalar(contract.label.column)}"
        if contract.label.balance:
            bounds = (f"{scalar(value)}: {_pair(each)}" for value, each in contract.label.balance.items())
            yield from _map("  balance", bounds)
    yield "columns:"
    for rules in contract.columns.values():
        yield f"  {scalar(rules.name)}:"
        yield from (f"    {line}" for line in _of_column(rules))


def _of_column(rules: ColumnRules) -> Iterator[str]:
    kind = rules.kind if rules.kind == "datetime" else ""
    yield f"kind: {rules.kind}"
    if rules.unit:
        yield f"unit: {scalar(rules.unit)}"
    if not rules.required:
        yield "required: false"
    for name in ("missing", "repeated"):
        if (share := getattr(rules, name)) < 1:
            yield f"{name}: {_number(share)}"
    if rules.range is not None:
        yield f"range: {_pair(rules.range, kind)}"
    if rules.usual is not None:
        yield f"usual: {_pair(rules.usual, kind)}"
        yield f"unusual: {_number(rules.unusual)}"
    if rules.categories:
        if rules.shares:
            pairs = (
                scalar(value) if share is None else f"{scalar(value)}: {_number(share)}"
                for value, share in rules.categories.items()
            )
            yield from _map("categories", pairs)
        else:
            yield f"categories: {_list(rules.categories)}"
        if rules.other > 0:
            yield f"other: {_number(rules.other)}"
    if rules.codes:
        yield from _map("codes", (f"{scalar(code)}: {scalar(text)}" for code, text in rules.codes.items()))
    if rules.numbers < 1:
        yield f"numbers: {_number(rules.numbers)}"
    if rules.profile:
        yield from _map("profile", (f"{_number(mark, kind)}: {_number(share)}" for mark, share in rules.profile))
    if rules.shift != SHIFT:
        yield f"shift: {_number(rules.shift)}"


def scalar(text: str) -> str:
    """Return a text as a scalar of YAML, in quotes if others could read it as something else."""
    if _PLAIN.fullmatch(text) and text.casefold() not in ("true", "false", "yes", "no", "on", "off", "null", "y", "n"):
        return text
    return text if _NUMBER.fullmatch(text) else f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _number(value: float, kind: str = "") -> str:
    if kind == "datetime":
        return moment_text(value)
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _pair(bounds: tuple[float, float], kind: str = "") -> str:
    return f"[{_number(bounds[0], kind)}, {_number(bounds[1], kind)}]"


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(scalar, values))}]"


def _map(name: str, entries: Iterable[str]) -> Iterator[str]:
    """Yield a mapping, on as many lines as it needs."""
    line = f"{name}: {{"
    indent = " " * (len(name) - len(name.lstrip()) + 2)
    given = list(entries)
    for at, entry in enumerate(given):
        part = entry + ("}" if at + 1 == len(given) else ",")
        if at and len(line) + len(part) > _WIDTH:
            yield line.rstrip()
            line = indent
        line += f"{part} "
    yield line.rstrip()
