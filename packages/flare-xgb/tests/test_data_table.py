"""Tables: what they hold, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from flare_xgb.data import DataError, Table


def test_a_table_holds_float32_with_nan_for_missing_values():
    table = Table.of([[1, -9], [3, 4]], [0, 1], missing=-9)

    assert table.features.dtype == np.float32
    assert table.features.flags.c_contiguous
    np.testing.assert_array_equal(table.features, np.array([[1, np.nan], [3, 4]], np.float32))
    assert table.label.dtype == np.float32
    assert (len(table), table.num_features, table.types, table.name(1)) == (2, 2, ("float", "float"), "f1")


def test_codes_without_names_are_their_own_categories():
    table = Table.of([[0.0], [2.0], [np.nan]], types=["c"])

    assert table.categories == {0: (0, 1, 2)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": [[np.inf]], "names": ["age"]}, "'age' holds infinity"),
        ({"features": [[1e39]]}, "'f0' holds infinity, or a number too large"),
        ({"features": [1.0, 2.0]}, "shape"),
        ({"features": [["text"]]}, "give numbers"),
        ({"features": [[1.0]], "names": ["a", "b"]}, "2 names for 1 features"),
        ({"features": [[1.0, 2.0]], "names": ["a", "a"]}, "two features are named 'a'"),
        ({"features": [[1.0]], "types": ["text"]}, "type 'text'"),
        ({"features": [[0.5]], "types": ["c"]}, "'f0' is of type 'c'"),
        ({"features": [[-1.0]], "types": ["c"]}, "'f0' is of type 'c'"),
        ({"features": [[2.0]], "types": ["c"], "categories": {0: ("x", "y")}}, "from 0 to 1"),
        ({"features": [[1.0]], "label": [np.nan]}, "label is nan in row 0"),
        ({"features": [[1.0], [2.0]], "label": [0.0]}, "label has shape"),
        ({"features": [[1.0], [2.0]], "weight": [1.0, -1.0]}, "weight is -1.0 in row 1"),
        ({"features": [[1.0], [2.0]], "qid": [2, 1]}, "sort the rows by qid"),
        ({"features": [[1.0], [2.0]], "qid": [1, 1.5]}, "not integers"),
        ({"features": [[1.0], [2.0]], "qid": [1, 1], "weight": [1.0, 1.0]}, "for 1 groups"),
        ({"features": [[1.0]], "wieght": [1.0]}, "no column 'wieght'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_by_the_name_of_its_column(arguments, message):
    with pytest.raises(DataError, match=message):
        Table.of(**arguments)


def test_an_upper_bound_may_be_infinite_and_a_lower_one_not():
    times = {"label_lower_bound": [1.0], "label_upper_bound": [np.inf]}

    table = Table.of([[1.0]], **times)

    assert np.isinf(table.label_upper_bound).all()
    with pytest.raises(DataError, match="label_lower_bound is inf"):
        table.with_columns(label_lower_bound=[np.inf])


def test_groups_begin_where_qid_changes():
    table = Table.of(np.zeros((5, 1)), qid=[3, 3, 7, 7, 9], weight=[1.0, 2.0, 3.0])

    assert table.group_starts.tolist() == [0, 2, 4, 5]
    assert Table.of(np.zeros((0, 1)), qid=[]).group_starts.tolist() == [0]
    with pytest.raises(DataError, match="belong together"):
        table.take([0])


def test_rows_are_taken_with_all_their_columns():
    table = Table.of([[1.0], [2.0], [3.0]], [0, 1, 0], weight=[1, 2, 3], base_margin=[[1, 2], [3, 4], [5, 6]])

    part = table.take(np.array([True, False, True]))

    assert part.features.tolist() == [[1.0], [3.0]]
    assert part.weight.tolist() == [1.0, 3.0]
    assert part.base_margin.tolist() == [[1, 2], [5, 6]]
    assert part.label.tolist() == [0, 0]


def test_categories_are_recoded_without_changing_the_table_itself():
    table = Table.of([[0.0, 5], [1, 6], [np.nan, 7]], types=["c", "float"], categories={0: ("x", "y")})

    recoded = table.with_categories({0: ("a", "y", "x")})

    np.testing.assert_array_equal(recoded.features[:, 0], np.array([2, 1, np.nan], np.float32))
    np.testing.assert_array_equal(table.features[:, 0], np.array([0, 1, np.nan], np.float32))


def test_an_unknown_category_counts_only_if_a_row_has_it():
    table = Table.of([[0.0], [0.0]], types=["c"], names=["town"], categories={0: ("x", "y")})

    assert table.with_categories({0: ("x",)}).categories == {0: ("x",)}
    with pytest.raises(DataError, match="'town' has the unknown category 'x'"):
        table.with_categories({0: ("y",)})


def test_the_weight_of_a_row_is_that_of_its_group():
    assert Table.of(np.zeros((3, 1)), qid=[1, 1, 2], weight=[2.0, 3.0]).row_weight.tolist() == [2, 2, 3]
    assert Table.of(np.zeros((2, 1)), weight=[2.0, 3.0]).row_weight.tolist() == [2, 3]
    assert Table.of(np.zeros((2, 1))).row_weight is None
