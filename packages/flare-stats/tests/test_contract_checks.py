from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flare_stats.contract import Breach, check, parse, profile_of, text_of
from flare_stats.contract.breaches import Telling
from flare_stats.contract.sample import Repetitions, Sample
from flare_stats.contract.statistics import exceeds
from flare_stats.contract.values import mixed

RNG = np.random.default_rng(0)
AGES = RNG.integers(20, 90, 200)


def broken(rules: str, columns: dict[str, Any], telling: Telling | None = None, head: str = "") -> list[Breach]:
    table = pa.table(columns)
    contract = parse(f"contract: 1\n{head}columns:\n{rules}")
    return check(
        contract, profile_of(table.column_names, table.to_batches(max_chunksize=70), contract), telling=telling
    )


def one(rules: str, columns: dict[str, Any], head: str = "") -> Breach:
    found = broken(rules, columns, head=head)
    assert len(found) == 1, text_of(found)
    return found[0]


@pytest.mark.parametrize(
    ("rules", "values", "rule", "found"),
    [
        ("missing: 0.1", [None] * 40 + list(AGES[:160]), "missing", "40 of 200 values (20 %) are missing"),
        ("range: [0, 120]", [*AGES[:185], *[130] * 15], "range", "15 of 200 values (7.5 %) are outside"),
        ("range: [0, 120]", [*AGES[:199], 130], "range", "fewer than 10 of 200 values are outside"),
        ("usual: [0, 90], unusual: 0.05", [*AGES[:150], *[95] * 50], "usual", "50 of 200 values (25 %) are unusual"),
        ("repeated: 0", [*range(190), *range(10)], "repeated", "10 of 200 values (5 %) repeat an earlier one"),
        ("categories: [1, 2]", [1] * 100 + [2] * 80 + [3] * 20, "categories", "20 of 200 values (10 %) are none of"),
        ("profile: {30: 0.1, 60: 0.5}", [25] * 190 + [65] * 10, "profile", "the distribution differs by 85 %"),
        ("unit: years", [0.5, 1.5] * 100, "kind", "200 of 200 values (100 %) are not whole"),
        ("unit: years", [datetime(2020, 1, 1)] * 200, "kind", "200 of 200 values (100 %) are dates"),
    ],
)
def test_a_broken_rule_names_the_column_the_counts_and_what_is_expected(
    rules: str, values: list[Any], rule: str, found: str
) -> None:
    breach = one(f"  age: {{kind: int, {rules}}}", {"age": pa.array(values, from_pandas=True)})
    assert (breach.column, breach.rule) == ("age", rule)
    assert breach.found.startswith(found)
    assert breach.expected


def test_data_that_keep_all_rules_break_none() -> None:
    rules = "  age: {kind: int, missing: 0, range: [0, 120], usual: [18, 95], unusual: 0.01, profile: {55: 0.5}}"
    assert broken(rules, {"age": AGES}) == []
    assert broken(rules, {"age": AGES.astype(float)}) == [], "whole numbers may be stored as floats"
    assert broken(rules, {"age": [str(age) for age in AGES]}) == [], "and as text, as in a CSV file"
    assert broken("  age: {kind: float}", {"age": AGES}) == []


def test_a_small_table_breaks_a_share_only_if_chance_does_not_explain_it() -> None:
    rules = "  age: {kind: int, missing: 0.05}"
    assert broken(rules, {"age": [None, None, *AGES[:18]]}) == []
    assert one(rules, {"age": pa.array([None] * 100 + [1] * 900)}).rule == "missing"
    assert one("  age: {kind: int, missing: 0}", {"age": pa.array([None, *[30] * 199])}).rule == "missing"


def test_chance_exceeds_a_share_as_rarely_as_stated() -> None:
    rng = np.random.default_rng(1)
    for share, total in ((0.01, 50), (0.05, 300), (0.5, 1000)):
        draws, times = np.unique(rng.binomial(total, share, 100_000), return_counts=True)
        assert sum(n for count, n in zip(draws, times, strict=True) if exceeds(int(count), total, share)) <= 100
    assert exceeds(1, 10**9, 0.0)
    assert not exceeds(10, 10, 1.0)


@pytest.mark.parametrize(
    ("head", "columns", "rule", "found"),
    [
        ("rows: [100, 150]\n", {"a": range(200), "b": range(200)}, "rows", "200 rows"),
        ("rows: [10, unlimited]\n", {"a": [1], "b": [1]}, "rows", "fewer than 10 rows"),
        (
            "extra: false\n",
            {"a": range(9), "b": range(9), "c": range(9)},
            "extra",
            "columns that the contract does not",
        ),
        ("ordered: true\n", {"b": range(9), "a": range(9)}, "ordered", "column 'b' stands in the place of 'a'"),
        ("repeated_rows: 0.1\n", {"a": [*range(60), *range(60)], "b": [3] * 120}, "repeated_rows", "60 of 120 rows"),
        ("keys: [[a, b]]\n", {"a": [1, 2, 2, 2] * 20, "b": [*range(79), 78]}, "keys", "fewer than 10 of 80 rows have"),
    ],
)
def test_rules_of_the_table(head: str, columns: dict[str, Any], rule: str, found: str) -> None:
    given = {name: list(values) for name, values in columns.items()}
    breach = one("  a: {kind: int}\n  b: {kind: int}", given, head=head)
    assert (breach.column, breach.rule) == ("", rule)
    assert breach.found.startswith(found)


def test_missing_values_are_the_same_in_rows_that_repeat() -> None:
    rows = {"a": pa.array([1.5, None, 1.5, None, 0.0, -0.0]), "b": pa.array(["x", None, "x", None, "y", "y"])}
    head = "repeated_rows: 0\n"
    found = broken("  a: {kind: float}\n  b: {kind: text}", rows, Telling(least=1), head)
    assert [each.found for each in found] == ["3 of 6 rows (50 %) repeat an earlier one"]


@pytest.mark.parametrize(
    ("values", "rules", "found"),
    [
        ([None] * 50, ["missing", "label"], "no row has a label"),
        (["yes"] * 50, ["label"], "all 50 rows have the same label"),
        (["yes"] * 195 + ["no"] * 5, ["balance"], "class yes: all but fewer than 10 of 200 rows"),
    ],
)
def test_rules_of_the_label(values: list[Any], rules: list[str], found: str) -> None:
    head = "label: {column: sick, balance: {yes: [0.1, 0.8]}}\n"
    rule = "  sick: {kind: category, missing: 0, categories: [yes, no]}"
    breaches = broken(rule, {"sick": pa.array(values, pa.string())}, head=head)
    assert [each.rule for each in breaches] == rules
    assert breaches[-1].found == found


def test_a_label_that_is_not_there_is_named() -> None:
    head = "label: {column: sick}\n"
    breach = one("  sick: {kind: bool}", {"age": AGES}, head=head)
    assert (breach.column, breach.rule, breach.found) == ("sick", "required", "the column is missing")
    breach = one("  sick: {kind: bool, required: false}", {"age": AGES}, head=head)
    assert (breach.column, breach.rule, breach.found) == ("sick", "label", "the label is missing")


def test_texts_and_dates_have_rules_too() -> None:
    dates = pa.array([datetime(2020, 1, 1 + day) for day in range(30)])
    assert one("  seen: {kind: datetime, range: [2020-01-05, 2020-12-31]}", {"seen": dates}).rule == "range"
    assert broken("  seen: {kind: datetime, range: [2020-01-01, 2020-12-31]}", {"seen": dates}) == []
    texts = pa.array([*["word"] * 60, *["17"] * 40])
    assert one("  note: {kind: text, numbers: 0.05}", {"note": texts}).cause == "numbers and texts are mixed"
    assert one("  note: {kind: int}", {"note": texts}).cause == "numbers and texts are mixed"
    assert broken("  flag: {kind: bool}", {"flag": pa.array([True, False])}) == []
    assert one("  flag: {kind: bool}", {"flag": pa.array(["true", "maybe"] * 20)}).found.endswith("true nor false")


def test_columns_of_other_kinds_are_counted_alone() -> None:
    blobs = pa.array([b"x", None] * 50)
    assert one("  scan: {kind: other, missing: 0.1}", {"scan": blobs}).rule == "missing"
    assert one("  scan: {kind: float}", {"scan": pa.array([b"x"] * 100)}).found.endswith("neither numbers nor texts")
    encoded = pa.array(["a", "b", "a"] * 40).dictionary_encode()
    assert one("  kind: {kind: category, categories: [a]}", {"kind": encoded}).rule == "categories"
    assert broken("  size: {kind: float, range: [0, 3]}", {"size": pa.array([1, 2]).cast(pa.decimal128(20))}) == []
    assert one("  size: {kind: float}", {"size": [float("inf"), *[1.0] * 50]}).rule == "kind"


def test_an_empty_table_and_an_empty_column_are_no_error_of_the_program() -> None:
    rules = "  age: {kind: int, missing: 0.5, range: [0, 9], profile: {5: 0.5}}"
    assert broken(rules, {"age": pa.array([], pa.int64())})[0].rule == "rows"
    assert one(rules, {"age": pa.array([None] * 30, pa.null())}).rule == "missing"


def test_counts_are_rounded_as_a_policy_asks() -> None:
    found = broken("  age: {kind: int, range: [0, 50]}", {"age": AGES}, Telling(least=10, round_to=25))
    outside = int((AGES > 50).sum())
    assert found[0].found.startswith(f"{round(outside / 25) * 25} of 200 values")


def test_details_hold_values_and_the_rest_does_not() -> None:
    columns = {"age": [*[30] * 95, *[777] * 5], "city": [*["Oslo"] * 92, *["Muggia"] * 8]}
    rules = "  age: {kind: int, range: [0, 120]}\n  city: {kind: category, categories: [Oslo]}"
    found = broken(rules, columns)
    assert "777" in text_of(found, details=True)
    assert "Muggia" in text_of(found, details=True)
    told = str([each.to_data() for each in found])
    assert "777" not in told
    assert "Muggia" not in told, "fewer than 10 rows have it"


def test_a_sample_is_uniform_and_the_same_in_each_run() -> None:
    samples = [Sample(), Sample()]
    for sample in samples:
        for start in range(0, 200_000, 30_000):
            sample.add(np.arange(start, min(start + 30_000, 200_000), dtype=float))
    first, second = (sample.sorted() for sample in samples)
    assert (first == second).all()
    assert len(first) == 20_000
    assert np.abs(np.searchsorted(first, np.linspace(0, 200_000, 11)) / 20_000 - np.linspace(0, 1, 11)).max() < 0.015


def test_repetitions_of_very_many_values_are_estimated() -> None:
    repetitions = Repetitions()
    values = np.concatenate([np.arange(900_000, dtype=np.uint64), np.arange(100_000, dtype=np.uint64)])
    for part in np.array_split(mixed(values), 7):
        repetitions.add(part)
    assert abs(repetitions.count - 100_000) < 3_000
