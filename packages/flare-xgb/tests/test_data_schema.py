"""Agreement of the sites on one schema."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_xgb.data import Columns, DataError, Schema, Table, agree, conform, from_pandas


def schema(frame: pd.DataFrame, **columns: object) -> Schema:
    return Schema.of(from_pandas(frame, Columns(label="y", **columns)))


BASE = pd.DataFrame({"age": [1, 2], "dose": [0.5, 0.25], "y": [0, 1]})


def test_a_schema_travels_as_plain_data():
    town = pd.DataFrame({"town": ["b", None, "a"], "y": [0, 1, 0]})
    made = schema(town, categorical=["town"])

    assert Schema.from_dict(made.to_dict()) == made
    assert made.categories == {0: ("a", "b")}


def test_integers_and_floats_agree_on_floats():
    agreed = agree({"site-1": schema(BASE), "site-2": schema(BASE.astype({"age": float}))})

    assert agreed.types == ("float", "float")
    assert agreed.rows == 4


def test_a_column_without_values_and_a_site_without_rows_fit_anywhere():
    missing = BASE.assign(age=[None, None])
    text = pd.DataFrame({"age": ["old", "young"], "dose": [1.0, 1.0], "y": [0, 1]})

    assert agree({"site-1": schema(missing), "site-2": schema(BASE)}).types == ("float", "float")
    assert agree({"site-1": schema(BASE.iloc[:0].astype(object)), "site-2": schema(BASE)}).types == ("int", "float")
    agreed = agree({"site-1": schema(missing), "site-2": schema(text, categorical=["age"])})
    assert agreed.types == ("c", "float")
    table = conform(from_pandas(missing, Columns(label="y")), agreed)
    assert table.types == ("c", "float")
    assert table.categories == {0: ("old", "young")}
    assert np.isnan(table.features[:, 0]).all()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (BASE[["dose", "age", "y"]], "site-2: column 1 is 'dose', but at site-1 it is 'age'"),
        (BASE[["age", "y"]], "site-2: has 1 features, but site-1 has 2; .* is 'dose'"),
        (BASE.rename(columns={"age": "years"}), "site-2: column 'age' is missing, which site-1 has"),
        (BASE.assign(extra=1), "site-2: has 3 features, but site-1 has 2; .* is 'extra'"),
        (BASE.astype({"age": "category"}), "site-2: column 'age' holds categories, but it holds numbers at site-1"),
    ],
)
def test_columns_that_differ_are_named_with_their_site(frame, message):
    with pytest.raises(DataError, match=message):
        agree({"site-1": schema(BASE), "site-2": schema(frame)})


def test_a_missing_label_or_weight_is_named_with_its_site():
    features = BASE[["age", "dose"]]
    without = Schema.of(from_pandas(features))
    weighted = Schema.of(Table.of(features, [0, 1], names=["age", "dose"], weight=[1, 1]))

    with pytest.raises(DataError, match="site-2: has no label, but site-1 has"):
        agree({"site-1": schema(BASE), "site-2": without})
    with pytest.raises(DataError, match="site-1: has no weight, but site-2 has"):
        agree({"site-1": schema(BASE), "site-2": weighted})
    with pytest.raises(DataError, match="site-1, site-2: there is no label"):
        agree({"site-1": without, "site-2": without})
    with pytest.raises(DataError, match="site-1: there are no rows"):
        agree({"site-1": schema(BASE.iloc[:0])})


def test_names_at_one_site_only_are_an_error():
    unnamed = Schema.of(Table.of(BASE[["age", "dose"]], [0, 1]))

    with pytest.raises(DataError, match="site-2: the features have no names"):
        agree({"site-1": schema(BASE), "site-2": unnamed})


def test_numbers_and_texts_do_not_mix_as_categories():
    texts, numbers = (pd.DataFrame({"town": pd.Categorical(each), "y": [0, 1]}) for each in (["1", "2"], [1, 2]))

    with pytest.raises(DataError, match="site-2: column 'town' has numbers as categories, but site-1 has texts"):
        agree({"site-1": schema(texts), "site-2": schema(numbers)})


def test_categories_of_validation_rows_count_and_others_are_unknown():
    train, validation, later = (
        from_pandas(pd.DataFrame({"town": pd.Categorical(each), "y": [0, 1]}), Columns(label="y"))
        for each in (["a", "b"], ["c", "a"], ["a", "d"])
    )
    agreed = agree({"site-1": Schema.of(train, validation)})

    assert conform(validation, agreed).features[:, 0].tolist() == [2.0, 0.0]
    with pytest.raises(DataError, match="site-1: column 'town' has the unknown category 'd'"):
        conform(later, agreed, site="site-1")


def test_validation_rows_with_other_columns_are_refused():
    train, validation = (from_pandas(each, Columns(label="y")) for each in (BASE, BASE[["dose", "age", "y"]]))

    with pytest.raises(DataError, match="the validation table: column 1 is 'dose'"):
        Schema.of(train, validation)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "ä", "Z", "10", "9"]), max_size=5), min_size=1, max_size=4))
def test_any_deal_of_rows_gives_the_codes_of_the_pooled_rows(parts):
    frames = [pd.DataFrame({"town": pd.Series(each, dtype=object), "x": 1.0, "y": 0.0}) for each in parts]
    pooled = pd.concat([*frames, frames[0]])
    columns = Columns(label="y", categorical=["town"])
    sites = {f"site-{at}": Schema.of(from_pandas(frame, columns)) for at, frame in enumerate(frames)}
    if not len(pooled):
        with pytest.raises(DataError):
            agree(sites)
        return

    agreed = agree(sites)

    assert agreed.categories == dict(reversed(list(agree(dict(reversed(sites.items()))).categories.items())))
    expected = from_pandas(pooled, columns).features[: sum(map(len, frames))]
    tables = [conform(from_pandas(frame, columns), agreed) for frame in frames]
    np.testing.assert_array_equal(np.concatenate([each.features for each in tables]), expected)


def test_a_schema_is_kept_with_a_model_as_text():
    frame = pd.DataFrame({"town": pd.Categorical(["b", "a"]), "y": [0, 1]})
    agreed = agree({"site-1": schema(frame)})

    kept = Schema.from_text(agreed.to_text())

    assert (kept.names, kept.types, kept.categories) == (("town",), ("c",), {0: ("a", "b")})
    later = from_pandas(pd.DataFrame({"town": pd.Categorical(["b"])}))
    assert conform(later, kept).features.tolist() == [[1.0]]
