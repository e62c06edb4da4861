"""Checks of a table against a contract, rule by rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from flare_stats.contract.breaches import Breach, Telling, distance_text, number_text, share_text
from flare_stats.contract.causes import Causes
from flare_stats.contract.fit import by_chance, distance, has_header
from flare_stats.contract.model import ColumnRules, Contract
from flare_stats.contract.profile import CODES, ColumnProfile, TableProfile
from flare_stats.contract.statistics import exceeds, falls_short

_KINDS = {"int": "whole numbers", "float": "numbers", "datetime": "dates", "bool": "true or false"}


def check(contract: Contract, table: TableProfile, *, telling: Telling | None = None) -> list[Breach]:
    """Compare a table with a contract.

    Args:
        contract: the contract.
        table: the table's profile, made with the contract.
        telling: how exactly counts are told in what may leave the site; None for the default.
    Returns:
        The broken rules: those of the whole table, then those of its columns in the order of the contract.
    """
    telling = telling or Telling()
    of_table = list(_of_table(contract, table, telling))
    of_columns: dict[str, list[Breach]] = {}
    for name, rules in contract.columns.items():
        if name in table.columns:
            of_columns[name] = list(_of_column(contract, rules, table.columns[name], telling))
        elif rules.required:
            of_columns[name] = [Breach(name, "required", "the column is missing", f"a column of kind {rules.kind}")]
    for name, breach in _of_label(contract, table, telling):
        of_columns.setdefault(name, []).append(breach)
    causes = Causes(contract, table, of_columns, telling)
    explained = [replace(each, cause=causes.of_table(each)) for each in of_table]
    for name, breaches in of_columns.items():
        cause = causes.of_column(name)
        if cause is not None and not breaches:  # within the bounds, but evidently another column, unit or code
            breaches = [cause]
        explained += [replace(each, cause=cause.cause if cause and cause.cause else each.cause) for each in breaches]
    return explained


def _of_table(contract: Contract, table: TableProfile, telling: Telling) -> Iterator[Breach]:
    lowest, highest = contract.rows
    if table.rows < lowest or (highest is not None and table.rows > highest):
        expected = f"at least {lowest:,}" if highest is None else f"{lowest:,} to {highest:,}"
        yield Breach("", "rows", telling.total(table.rows, "rows"), expected)
    if not contract.extra and (extra := [name for name in table.columns if name not in contract.columns]):
        listed = ", ".join(map(repr, extra))
        if has_header(contract, table):
            yield Breach("", "extra", f"columns that the contract does not name: {listed}", "none")
        else:
            yield Breach("", "extra", f"{len(extra)} columns that the contract does not name", "none", detail=listed)
    names = [name for name in table.columns if name in contract.columns]
    if contract.ordered and names != (wanted := [name for name in contract.columns if name in table.columns]):
        first = next(at for at, (one, other) in enumerate(zip(names, wanted, strict=True)) if one != other)
        found = f"column {names[first]!r} stands in the place of {wanted[first]!r}"
        yield Breach("", "ordered", found, "the columns in the order of the contract")
    # As many rows as the reference has repeat each other by chance as there; more rows do so in proportion.
    more = max(1.0, table.rows / contract.reference_rows) if contract.reference_rows else 1.0
    share = contract.repeated_rows if contract.repeated_rows in (0, 1) else min(1.0, contract.repeated_rows * more)
    if exceeds(table.repeated_rows, table.rows, share):
        found = f"{telling.counted(table.repeated_rows, table.rows, 'rows')} repeat an earlier one"
        yield Breach("", "repeated_rows", found, f"at most {share_text(share)}")
    for key, repeated in table.repeated_keys.items():
        if repeated and all(name in table.columns for name in key):
            found = f"{telling.counted(repeated, table.rows, 'rows')} have the key of an earlier one"
            yield Breach("", "keys", found, f"each combination of {', '.join(key)} once")


def _of_column(contract: Contract, rules: ColumnRules, column: ColumnProfile, telling: Telling) -> Iterator[Breach]:
    name, present = rules.name, column.present

    def values(count: int, total: int = present) -> str:
        return telling.counted(count, total, "values")

    if exceeds(column.missing, column.rows, rules.missing):
        yield Breach(name, "missing", f"{values(column.missing, column.rows)} are missing", _at_most(rules.missing))
    if not present:
        return
    if (misfits := _misfits(rules, column)) is not None:
        count, found = misfits
        yield Breach(name, "kind", f"{values(count)} are {found}", _KINDS.get(rules.kind, rules.kind))
        if rules.is_numeric and column.is_time != (rules.kind == "datetime"):
            return
    if exceeds(column.repeated, present, rules.repeated):
        yield Breach(name, "repeated", f"{values(column.repeated)} repeat an earlier one", _at_most(rules.repeated))
    if rules.range is not None and column.outside:
        low, high = (number_text(bound, rules.kind) for bound in rules.range)
        lowest, highest = number_text(column.low, rules.kind), number_text(column.high, rules.kind)
        detail = f"they are from {lowest} to {highest}"
        yield Breach(name, "range", f"{values(column.outside)} are outside", f"{low} to {high}", detail=detail)
    if rules.usual is not None and exceeds(column.unusual, column.count, rules.unusual):
        low, high = (number_text(bound, rules.kind) for bound in rules.usual)
        expected = f"{_at_most(rules.unusual)} outside {low} to {high}"
        yield Breach(name, "usual", f"{values(column.unusual)} are unusual", expected)
    if code := _code(rules, column):
        found = f"{values(column.codes[code])} are {number_text(code)}, apart from all others"
        yield Breach(
            name, "codes", found, "no code for missing values", f"{number_text(code)} stands for a missing value"
        )
    if rules.categories:
        others = present - sum(column.categories.get(value, 0) for value in rules.categories)
        if exceeds(others, present, rules.other):
            expected = f"{_at_most(rules.other)} other than {_listed(list(rules.categories))}"
            detail = f"others: {_listed(_others(rules, column))}"
            yield Breach(name, "categories", f"{values(others)} are none of the categories", expected, detail=detail)
    if rules.kind == "text" and exceeds(column.count, present, rules.numbers):
        yield Breach(name, "numbers", f"{values(column.count)} are numbers", _at_most(rules.numbers))
    far = distance(rules, column)
    if far is not None and far > max(rules.shift, by_chance(rules, column, contract.reference_rows)):
        found = f"the distribution differs by {distance_text(far)} from the reference's"
        yield Breach(name, "profile", found, f"at most {share_text(rules.shift)}")


def _of_label(contract: Contract, table: TableProfile, telling: Telling) -> Iterator[tuple[str, Breach]]:
    label = contract.label
    if label is None:
        return
    name, column = label.column, table.columns.get(label.column)
    if column is None:
        if name not in contract.columns or not contract.columns[name].required:
            yield name, Breach(name, "label", "the label is missing", f"a column {name!r}")
        return
    if not column.present:
        yield name, Breach(name, "label", "no row has a label", "a label in each row")
        return
    if present_values(column) == 1:
        found = f"all {telling.total(column.present, 'rows')} have the same label"
        yield name, Breach(name, "label", found, "at least two different labels")
        return
    rules = contract.columns[name]
    if rules.categories and not any(column.categories.get(value) for value in rules.categories):
        return  # other words, of which the rules of the column tell
    for value, (lowest, highest) in label.balance.items():
        count = column.categories.get(value, 0)
        if falls_short(count, column.present, lowest) or exceeds(count, column.present, highest):
            found = f"class {value}: {telling.counted(count, column.present, 'rows')}"
            yield name, Breach(name, "balance", found, f"{share_text(lowest)} to {share_text(highest)}")


def present_values(column: ColumnProfile) -> int:
    """Return how many different values a column has."""
    return column.present - column.repeated


def _misfits(rules: ColumnRules, column: ColumnProfile) -> tuple[int, str] | None:
    """Return how many values are not of the kind, and what they are; None if all are."""
    if column.is_opaque:
        return (column.present, "neither numbers nor texts") if rules.kind != "other" else None
    if rules.is_numeric:
        if column.texts:
            return column.texts, "text" if column.texts == column.present else "text among numbers"
        if column.is_time != (rules.kind == "datetime"):
            return column.present, "dates" if column.is_time else "numbers"
        if rules.kind == "int" and not column.is_integral:
            return column.fractional, "not whole"
    if rules.kind == "bool":
        ones = sum(column.categories.get(value, 0) for value in ("true", "false"))
        return (column.present - ones, "neither true nor false") if ones < column.present else None
    return None


def _code(rules: ColumnRules, column: ColumnProfile) -> float | None:
    """Return an unusual number that many rows have and that has no neighbors; None if there is none."""
    if rules.usual is None or rules.categories or rules.kind == "datetime":
        return None
    for code in CODES.tolist():
        count = column.codes.get(code, 0)
        if rules.usual[0] <= code <= rules.usual[1] or count < max(5, 0.01 * column.count):
            continue
        near = abs(column.numbers - code) <= 0.2 * abs(code)
        others = int(near.sum()) - int((column.numbers == code).sum())
        if others < 0.2 * count * len(column.numbers) / column.count:
            return float(code)
    return None


def _others(rules: ColumnRules, column: ColumnProfile) -> list[str]:
    found = {value: count for value, count in column.categories.items() if value not in rules.categories and count}
    found = found or {value: count for value, count in column.words.items() if value not in rules.categories}
    return [f"{value} ({count})" for value, count in sorted(found.items(), key=lambda each: -each[1])]


def _listed(values: list[str], most: int = 12) -> str:
    return ", ".join(values[:most]) + (f", and {len(values) - most} more" if len(values) > most else "")


def _at_most(share: float) -> str:
    return "none" if share == 0 else f"at most {share_text(share)}"
