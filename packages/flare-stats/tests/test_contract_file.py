from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_stats.contract import ColumnRules, Contract, ContractError, LabelRules, load, parse, text_of, yaml_of
from flare_stats.contract.making import check_source, contract_of_source

BOUNDS = st.floats(-1e9, 1e9).map(lambda number: float(f"{number:.6g}"))
PAIR = st.tuples(BOUNDS, BOUNDS).map(sorted).map(tuple)
SHARE = st.integers(0, 100).map(lambda percent: percent / 100)
NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)

CONTRACT = """\
contract: 1
name: patients
rows: [100, unlimited]
label:
  column: sick
  balance: {yes: [0.1, 0.6]}
keys:
- [patient, visit]
columns:
  patient: {kind: text}
  visit: {kind: datetime, range: [2020-01-01, 2026-06-30T12:00:00]}
  age: {kind: int, unit: years, missing: 0.05, range: [0, 120]}
  sick: {kind: category, categories: [yes, no]}
"""


@st.composite
def columns(draw: st.DrawFn) -> ColumnRules:
    kind = draw(st.sampled_from(["int", "float", "category", "text", "datetime", "bool", "other"]))
    rules = {"name": draw(NAME), "kind": kind, "missing": draw(SHARE), "repeated": draw(SHARE)}
    if kind in ("int", "float"):
        marks = sorted(draw(st.sets(BOUNDS, max_size=5)))
        shares = sorted(draw(st.lists(SHARE, min_size=len(marks), max_size=len(marks))))
        rules |= {"range": draw(PAIR), "usual": draw(PAIR), "unusual": draw(SHARE), "unit": draw(NAME)}
        rules |= {"profile": tuple(zip(marks, shares, strict=True)), "shift": draw(SHARE)}
    if kind == "datetime":
        rules["range"] = (0.0, draw(st.integers(1, 4_000_000_000)) + 0.0)
    if kind == "category":
        words = draw(st.lists(NAME.filter(lambda text: not any(map(str.isdigit, text))), max_size=4, unique=True))
        words = [word for word in words if word.lower() not in ("true", "false")]
        rules |= {
            "categories": dict.fromkeys(words, draw(st.none() | st.just(0.2))),
            "codes": dict.fromkeys(words, "x"),
        }
        rules["other"] = draw(SHARE) if words else 1.0
    if kind == "text":
        rules["numbers"] = draw(SHARE)
    return ColumnRules(**rules)


@given(st.lists(columns(), min_size=1, max_size=4), st.booleans(), SHARE, st.data())
def test_a_contract_that_is_written_and_read_is_the_same(
    given_columns: list[ColumnRules], flag: bool, share: float, data: st.DataObject
) -> None:
    by_name = {each.name: each for each in given_columns}
    label = LabelRules(column=data.draw(st.sampled_from(sorted(by_name))), balance={"1": (0.1, 0.9)})
    contract = Contract(
        name="any",
        columns=by_name,
        rows=(3, data.draw(st.none() | st.integers(3, 1000))),
        reference_rows=data.draw(st.none() | st.integers(0, 10**9)),
        ordered=flag,
        extra=not flag,
        repeated_rows=share,
        keys=(tuple(by_name),),
        label=data.draw(st.none() | st.just(label)),
    )
    assert parse(yaml_of(contract)) == contract


def test_words_are_texts_as_they_are_written() -> None:
    contract = parse(CONTRACT)
    assert dict(contract.columns["sick"].categories) == {"yes": None, "no": None}
    assert contract.columns["sick"].other == 0, "a list of categories is closed unless 'other' opens it"
    assert contract.columns["visit"].range == (1577836800.0, 1782820800.0)
    assert contract.keys == (("patient", "visit"),)
    assert contract.label == LabelRules(column="sick", balance={"yes": (0.1, 0.6)})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "contract: 1",
            "contract: 2",
            "line 1: contract is '2'; this version of flare-stats reads contracts of format 1",
        ),
        ("contract: 1\n", "", "write 'contract: 1' at its beginning"),
        ("missing: 0.05", "missing: 5", "columns.age.missing is '5'; give a share from 0 to 1, such as 0.05 for 5 %"),
        ("missing: 0.05", "missing: 5 %", "columns.age.missing is '5 %'; give a number"),
        ("missing: 0.05", "mising: 0.05", "a key of columns.age is 'mising'; did you mean 'missing'?"),
        ("missing: 0.05", "missing: 0.05, missing: 0.1", "there are two keys 'missing'; remove one"),
        ("range: [0, 120]", "range: [120, 0]", "the first bound, 120, is above the second, 0; exchange them"),
        ("range: [0, 120]", "range: 120", "columns.age.range is '120'; give a list"),
        ("range: [0, 120]", "range: [0, 1e999]", "columns.age.range[1] is '1e999'; give a number"),
        ("range: [0, 120]", "range: [0, .nan]", "columns.age.range[1] is '.nan'; give a number"),
        ("range: [0, 120]", "profile: {5: 0.5, 3: 0.6}", "the marks must ascend"),
        ("kind: int", "kind: integer", "columns.age.kind is 'integer'; did you mean 'int"),
        ("{kind: text}", "{kind: text, range: [0, 1]}", "only a column of kind int or float or datetime has it"),
        ("kind: text", "kind: text, other: 0.1", "it needs categories"),
        ("2020-01-01", "01.01.2020", "give a date as 2026-01-31"),
        (
            "[patient, visit]",
            "[patient, visits]",
            "keys[0][1] is 'visits'; columns has no such column; did you mean 'visit'",
        ),
        ("column: sick", "column: ill", "label.column is 'ill'; columns has no such column"),
        ("{yes: [0.1, 0.6]}", "{yes: [0.1, 6]}", "give two shares from 0 to 1"),
        ("[yes, no]", "{yes: 0.9, no: 0.9}", "the shares add up to more than 1"),
        ("[yes, no]", "[yes, yes]", "'yes' is there twice"),
        ("[100, unlimited]", "[100]", "give the smallest and the largest number of rows"),
        ("kind: text", "kind: &a text", "anchors and aliases are not allowed"),
        ("name: patients", "name: [patients", "is not YAML"),
        ("  patient: {kind: text}", "  patient: {unit: cm}", "write 'kind: …'"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_line_the_value_and_the_remedy(old: str, new: str, message: str) -> None:
    assert old in CONTRACT
    with pytest.raises(ContractError) as caught:
        parse(CONTRACT.replace(old, new, 1), "patients.yml")
    assert "patients.yml" in str(caught.value)
    assert message in str(caught.value)


@given(st.text(max_size=300))
def test_any_text_is_a_contract_or_a_contract_error(text: str) -> None:
    with suppress(ContractError):
        assert parse(text).columns


def test_a_file_that_cannot_be_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes("contract: 1\nname: Zürich".encode("latin-1"))
    for name, why in (("none.yml", "No such file"), ("latin.yml", "save it as UTF-8"), (".", "directory")):
        with pytest.raises(ContractError, match=why):
            load(tmp_path / name)


def _table(rows: int = 400) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "id": [f"patient {number}" for number in range(rows)],
            "age": rng.integers(18, 95, rows),
            "creatinine": rng.lognormal(0, 0.5, rows),
            "city": rng.choice(["Rome", "Oslo", "Bern"], rows, p=[0.6, 0.38, 0.02]),
            "seen": pa.array((1.6e9 + 1e7 * rng.random(rows)).astype("datetime64[s]")),
            "sick": rng.random(rows) < 0.3,
        }
    )


def test_a_made_contract_shows_no_value_of_a_person() -> None:
    table = _table()
    text = yaml_of(contract_of_source(table, label="sick"))
    for name in ("id", "creatinine", "seen"):
        assert not [value for value in table[name].to_pylist() if str(value) in text]
    ages = table["age"].to_pylist()
    contract = parse(text)
    low, high = contract.columns["age"].range or (0, 0)
    assert low < min(ages) <= max(ages) < high
    assert "Bern" not in text, "fewer than 10 rows have it"
    assert set(contract.columns["city"].categories) == {"Rome", "Oslo"}
    assert contract.columns["city"].other > 0.02


def test_marks_of_a_profile_have_enough_values_between_them() -> None:
    table = _table()
    for least in (10, 40):
        profile = contract_of_source(table, least=least).columns["creatinine"].profile
        values = np.sort(table["creatinine"].to_numpy())
        counts = np.diff([0, *np.searchsorted(values, [mark for mark, _ in profile], "right"), len(values)])
        assert counts.min() >= least


def test_a_table_of_few_rows_makes_no_contract() -> None:
    with pytest.raises(ContractError, match="the table has 19 rows, too few"):
        contract_of_source(_table(19))
    with pytest.raises(ContractError, match="has no column 'ill'; it has id, age"):
        contract_of_source(_table(), label="ill")
    with pytest.raises(ContractError, match="give at least 2"):
        contract_of_source(_table(), least=1)


def test_the_owners_policy_holds_for_a_contract(tmp_path: Path) -> None:
    (tmp_path / "privacy.toml").write_text('min_count = 200\nforbidden_features = ["i*"]\n')
    contract = contract_of_source(_table(), local=tmp_path)
    assert "id" not in contract.columns
    assert set(contract.columns["city"].categories) == {"Rome"} or not contract.columns["city"].categories
    (tmp_path / "privacy.toml").write_text(
        '[differential_privacy]\nmechanism = "laplace"\nepsilon = 0.1\ntotal_epsilon = 1.0\n'
    )
    with pytest.raises(ContractError, match="asks for differential privacy"):
        contract_of_source(_table(), local=tmp_path)


POOLS: dict[str, list[Any]] = {
    "odd numbers": [0.0, -0.0, 1.0, 2.5, 1e300, -1e300, 5e-324, 1e15, 2.0**60, float("inf"), float("nan"), 0.1, 7e-9],
    "large integers": [0, 1, 2**53 + 1, 2**62, -(2**62), 10**15, -1],
    "few integers": [0, 1, 2, 3, -1, 99],
    "booleans": [True, False],
    "texts": ["", " ", "a", "B", "1", "01", "1.5", "true", "no", "é", "x" * 300, "-", "1,5", "\x00", "a: b", "#", "~"],
    "dates": [datetime(1, 1, 1), datetime(9999, 12, 31), datetime(2020, 2, 29, 12), datetime(1969, 12, 31)],
    "bytes": [b"", b"x"],
    "nothing": [None],
}


@given(st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=3), st.integers(0, 2**32), st.integers(2, 30))
def test_any_table_keeps_the_contract_that_is_made_of_it(kinds: list[str], seed: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(2 * least, 150))
    columns = {}
    for at, kind in enumerate(kinds):
        pool = [None, *rng.permutation(np.array(POOLS[kind], object))[: rng.integers(1, 20)].tolist()]
        chosen = [pool[index] for index in rng.integers(0, len(pool), rows)]
        if "numbers" in kind and rng.random() < 0.5:
            chosen = (rng.normal(size=rows) * 10.0 ** float(rng.integers(-300, 300))).tolist()
        columns[f"column {at}"] = pa.array(chosen, from_pandas=True)
    table = pa.table(columns)
    contract = contract_of_source(table, label=list(columns)[int(rng.integers(len(columns)))], least=least)
    assert parse(yaml_of(contract)) == contract
    broken = check_source(table, contract)[1]
    assert {each.rule for each in broken} <= {"label"}, text_of(broken, details=True)
