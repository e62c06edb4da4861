"""Mistakes in the preparation of data are found and explained, and random halves of the same data are not mistakes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
from contract_tables import halves, tables

from flare_stats.contract import Breach, Contract, parse, yaml_of
from flare_stats.contract.fit import distance
from flare_stats.contract.making import check_source, contract_of_source
from flare_stats.contract.profile import profile_of
from flare_stats.sources import open_source

NAMES = list(tables())
Fault = Callable[[pd.Series], pd.Series]


def contract_of(name: str) -> tuple[Contract, pd.DataFrame]:
    """Return a contract made of one half of a table, and the other half."""
    first, second, label = halves(name)
    return parse(yaml_of(contract_of_source(first, label=label))), second


def causes(contract: Contract, data: pd.DataFrame, column: str) -> str:
    broken = check_source(data, contract)[1]
    return " | ".join(f"{each.rule}: {each.cause}" for each in broken if each.column == column)


def continuous(contract: Contract, data: pd.DataFrame) -> list[str]:
    """Return columns of numbers that have a scale of their own."""
    fitting = [name for name, rules in contract.columns.items() if rules.kind in ("int", "float") and rules.profile]
    return [name for name in fitting if data[name].nunique() > 20 and data[name].min() > 0][:4]


@pytest.mark.parametrize("name", NAMES)
def test_no_rule_is_broken_by_the_other_half(name: str) -> None:
    alarms: list[Breach] = []
    for seed in range(4):
        first, second, label = halves(name, seed)
        for one, other in ((first, second), (second, first)):
            alarms += check_source(other, contract_of_source(one, label=label))[1]
    # A bound that no row may exceed can be exceeded by a single row of another sample.
    assert not [each for each in alarms if each.rule != "range" or not each.found.startswith("fewer than")]
    assert len(alarms) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_swapped_columns_are_named_with_each_other(name: str) -> None:
    contract, data = contract_of(name)
    source = open_source(data)
    profile = profile_of([each.name for each in source.features()], source.chunks(), contract)
    pairs = [(one, other) for at, one in enumerate(data) for other in list(data)[at + 1 :]]
    np.random.default_rng(0).shuffle(pairs)
    tried = 0
    for one, other in pairs:
        far = distance(contract.columns[one], profile.columns[other])
        back = distance(contract.columns[other], profile.columns[one])
        if far is None or back is None or min(far, back) < 0.55 or tried >= 6:
            continue
        tried += 1
        swapped = data.rename(columns={one: other, other: one})
        assert f"columns {one!r} and {other!r} are swapped" in causes(contract, swapped, one), (one, other)
        assert f"columns {other!r} and {one!r} are swapped" in causes(contract, swapped, other), (one, other)
    assert tried >= 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [1000.0, 18.0182, 0.0113, 100.0])
def test_another_unit_is_named_with_its_factor(name: str, factor: float) -> None:
    contract, data = contract_of(name)
    columns = continuous(contract, data) or [each for each in data if data[each].dtype.kind in "if"][:4]
    for column in columns:
        if data[column].min() > 0:
            changed = data.assign(**{column: data[column] * factor})
            named = re.search(r"a constant factor of ([\d.]+)", causes(contract, changed, column))
            assert named, column
            assert abs(np.log(float(named[1]) / factor)) < 0.1


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("hospital")])
@pytest.mark.parametrize(
    ("column", "change", "cause"),
    [
        ("height", lambda x: x / 2.54, "a constant factor of 0.393701 (such as in instead of cm)"),
        ("temperature", lambda x: x * 1.8 + 32, "× 1.8 + 32 (such as °F instead of °C)"),
        ("glucose", lambda x: x / 18.0182, "a constant factor of 0.05549"),
        ("weight", lambda x: x * 2.20462, "a constant factor of 2.20462"),
        ("crp", np.log10, "logarithms to the base 10"),
        ("crp", lambda x: x * 5.4, "a constant factor of 5"),
        ("smoker", lambda x: x + 1, "numbered from 1 in place of 0"),
        ("smoker", lambda x: x.map({0: "no", 1: "yes"}), "other words for the same (no for 0, yes for 1)"),
        ("smoker", lambda x: x == 1, "other words for the same (false for 0, true for 1)"),
        ("sick", lambda x: x.map({"no": "N", "yes": "Y"}), "other words for the same (N for no, Y for yes)"),
        ("sick", lambda x: x.map({"no": 0, "yes": 1}), "other words for the same (0 for no, 1 for yes)"),
        (
            "gender",
            lambda x: x.map({"female": "F", "male": "M"}),
            "other words for the same (F for female, M for male)",
        ),
        ("gender", lambda x: x.str.upper(), "upper and lower case"),
        ("gender", lambda x: x + " ", "spaces around the values"),
        ("stage", lambda x: x.map({"I": 1, "II": 2, "III": 3, "IV": 4}), "numbers in place of the categories"),
        ("stage", lambda x: some(x, "V"), "new categories: 'V'"),
        ("stage", lambda x: some(x, "unknown"), "'unknown' as a code for missing values"),
        ("height", lambda x: x.astype(str).str.replace(".", ","), "decimal comma in place of a point"),
        ("height", lambda x: x.astype(str) + " cm", "numbers are written with a unit or a sign"),
        ("height", lambda x: some(x, "see file"), "numbers and texts are mixed"),
        ("glucose", lambda x: some(x, "?"), "'?' as a code for missing values"),
        ("age", lambda x: some(x, -999), "-999 as a code for missing values"),
        ("weight", lambda x: some(x, 9999.0), "9999 as a code for missing values"),
        ("height", lambda x: some(x, 999.0), "999 as a code for missing values"),
        ("gender", lambda x: x.map({"female": "male", "male": "female"}), ""),
        ("note", lambda x: pd.Series(range(len(x))), "numbers in place of texts"),
    ],
)
def test_other_codes_and_units_are_named(name: str, column: str, change: Fault, cause: str) -> None:
    contract, data = contract_of(name)
    found = causes(contract, data.assign(**{column: change(data[column])}), column)
    assert cause in found


def some(column: pd.Series, value: object, share: float = 0.12) -> pd.Series:
    """Return a column in which some values are replaced."""
    is_replaced = np.random.default_rng(0).random(len(column)) < share
    return column.astype(object).where(~is_replaced, value).infer_objects()


@pytest.mark.parametrize("name", NAMES)
def test_repeated_rows_are_found(name: str) -> None:
    contract, data = contract_of(name)
    for repeated, cause in ((data, "exported twice"), (data.iloc[: len(data) // 3], "more than once")):
        broken = check_source(pd.concat([data, repeated]), contract)[1]
        assert any(each.rule == "repeated_rows" and cause in each.cause for each in broken)


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_is_missing_or_constant_is_found(name: str) -> None:
    contract, data = contract_of(name)
    assert contract.label is not None
    label = contract.label.column
    changes: list[tuple[pd.DataFrame, str]] = [
        (data.drop(columns=label), "the column is missing"),
        (data.assign(**{label: None}), "no row has a label"),
        (data.assign(**{label: data[label].iloc[0]}), "rows have the same label"),
        (data.assign(**{label: data[label].astype(object).where(data.index % 2 == 0, None)}), "are missing"),
    ]
    for changed, found in changes:
        assert any(found in each.found for each in check_source(changed, contract)[1]), found


def test_a_renamed_column_is_named() -> None:
    contract, data = contract_of("hospital-0")
    for new in ("Glucose ", "blood_sugar"):
        broken = check_source(data.rename(columns={"glucose": new}), contract)[1]
        assert [(each.column, each.rule) for each in broken] == [("glucose", "required")]
        assert repr(new) in broken[0].cause


def test_columns_that_have_moved_are_named() -> None:
    contract, data = contract_of("hospital-1")
    moved = data.assign(height=data["crp"], weight=data["height"], crp=data["weight"])
    assert "the values are those of column 'crp'" in causes(contract, moved, "height")
    assert "the values are those of column 'height'" in causes(contract, moved, "weight")


def test_a_unit_that_the_contract_names_decides_between_factors_that_fit() -> None:
    first, second, _ = halves("hospital-2")
    second = second.assign(glucose=second["glucose"] / 18.0182)
    named = contract_of_source(first, units={"glucose": "mg/dL"})
    assert "(mmol/l instead of mg/dl of glucose)" in causes(named, second, "glucose")
    other = contract_of_source(first, units={"glucose": "points"})
    assert causes(other, second, "glucose").endswith("a constant factor of 0.0554994")


@pytest.mark.parametrize("share", [0.08, 0.3])
def test_some_rows_in_another_unit_are_found(share: float) -> None:
    contract, data = contract_of("hospital-3")
    is_other = np.random.default_rng(0).random(len(data)) < share
    broken = causes(contract, data.assign(height=data["height"].where(~is_other, data["height"] / 2.54)), "height")
    assert "usual" in broken or "range" in broken


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the logarithm of a concentration of 0
        yield
