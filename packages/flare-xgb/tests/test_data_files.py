"""Files, data frames and loaders: the same rows in every format are the same table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
import xgboost
from hypothesis import assume, given
from hypothesis import strategies as st
from xgboost_version import changed

from flare_xgb.data import (
    Columns,
    DataError,
    DataLoader,
    FileLoader,
    LibsvmLoader,
    from_arrow,
    from_pandas,
    load,
    read_csv,
    read_libsvm,
    read_table,
    to_table,
)

FRAME = pd.DataFrame(
    {
        "age": [40, 50, 60],
        "dose": [0.1, None, 2.5],
        "smokes": [True, False, True],
        "town": ["b", "a", None],
        "event": [0, 1, 1],
        "w": [1.0, 2.0, 0.5],
    }
)
COLUMNS = Columns(label="event", weight="w", categorical=["town"])
NAN = float("nan")
FEATURES = np.array([[40, 0.1, 1, 1], [50, NAN, 0, 0], [60, 2.5, 1, NAN]], np.float32)


def write(path, frame=FRAME):
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path, index=False)
        case ".feather":
            pyarrow.feather.write_feather(frame, path)
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.feather"])
def test_every_format_gives_the_same_table(tmp_path, name):
    table = read_table(write(tmp_path / name), COLUMNS)

    np.testing.assert_array_equal(table.features, FEATURES)
    assert table.names == ("age", "dose", "smokes", "town")
    assert table.types == ("int", "float", "i", "c")
    assert table.categories == {3: ("a", "b")}
    assert table.label.tolist() == [0, 1, 1]
    assert table.weight.tolist() == [1, 2, 0.5]


def test_data_frames_and_arrow_tables_give_the_same_table():
    held = FRAME.astype({"town": "category", "age": "Int64"})
    columns = Columns(label="event", weight="w")

    for table in (from_pandas(held, columns), from_arrow(pa.Table.from_pandas(held), columns)):
        np.testing.assert_array_equal(table.features, FEATURES)
        assert table.types == ("int", "float", "i", "c")


def test_an_arrow_table_of_several_chunks_has_one_set_of_categories():
    parts = [pa.table({"town": pa.array(each).dictionary_encode()}) for each in (["b", "a"], ["c", "a"])]

    table = from_arrow(pa.concat_tables(parts))

    assert [table.categories[0][int(code)] for code in table.features[:, 0]] == ["b", "a", "c", "a"]


def test_features_are_chosen_and_ordered_by_name(tmp_path):
    columns = Columns(label="event", features=["dose", "age"])

    for name in ("rows.csv", "rows.parquet"):
        assert read_table(write(tmp_path / name), columns).names == ("dose", "age")


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(label="evnt", categorical=["town"]), "there is no column 'evnt'; the columns are age, dose"),
        (Columns(label="event"), "'town' is .*; name it in categorical"),
        (Columns(label="town"), "column 'town' is .*; it must hold numbers"),
        (Columns(label="dose", features=["age"]), "label is nan in row 1"),
        (Columns(label="event", features=["age", "event"]), "'event' is given both"),
        (Columns(label="event", features=["age"], categorical=["town"]), "'town', which is not a feature"),
    ],
)
def test_errors_name_the_file_and_the_column(tmp_path, name, columns, message):
    path = write(tmp_path / name)

    with pytest.raises(DataError, match=f"{name}: .*{message}"):
        read_table(path, columns)


def test_a_file_without_rows_is_a_table_without_rows(tmp_path):
    for name in ("rows.csv", "rows.parquet"):
        table = read_table(write(tmp_path / name, FRAME.iloc[:0]), COLUMNS)

        assert (len(table), table.num_features) == (0, 4)


def test_numbers_are_rounded_once_from_their_text(tmp_path):
    texts = ["0.1", "1e-40", "16777217", "3.4028235e38", "0.30000000000000004"]
    (tmp_path / "rows.csv").write_text("x\n" + "\n".join(texts) + "\n")

    table = read_csv(tmp_path / "rows.csv")

    assert table.features[:, 0].tolist() == [float(np.float32(float(text))) for text in texts]


def test_rows_of_a_ranking_are_sorted_by_group_and_weighted_by_group():
    frame = pd.DataFrame({"x": [1, 2, 3, 4], "y": [0, 1, 0, 1], "group": [7, 3, 7, 3], "w": [1.0, 2.0, 1.0, 2.0]})

    table = from_pandas(frame, Columns(label="y", qid="group", weight="w"))

    assert table.features[:, 0].tolist() == [2, 4, 1, 3]
    assert table.qid.tolist() == [3, 3, 7, 7]
    assert table.weight.tolist() == [2, 1]
    with pytest.raises(DataError, match="different weights"):
        from_pandas(frame.assign(w=[1.0, 2.0, 3.0, 4.0]), Columns(label="y", qid="group", weight="w"))


def test_several_columns_are_one_margin_for_each_output():
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1], "a": [0.5, 1.5], "b": [2.5, 3.5]})

    assert from_pandas(frame, Columns(label="y", base_margin=["a", "b"])).base_margin.shape == (2, 2)
    assert from_pandas(frame, Columns(label="y", base_margin="a")).base_margin.tolist() == [0.5, 1.5]


def test_libsvm_lines_are_read_as_xgboost_reads_them(tmp_path):
    path = tmp_path / "rows.libsvm"
    path.write_text("1:2 qid:1 0:1.5 2:-3 # first\n0:2 qid:1 1:0.25\n\n1:0.5 qid:2 2:7\n")

    table = read_libsvm(path)

    np.testing.assert_array_equal(table.features, np.array([[1.5, NAN, -3], [NAN, 0.25, NAN], [NAN, NAN, 7]], "f4"))
    assert table.label.tolist() == [1, 0, 1]
    assert table.qid.tolist() == [1, 1, 2]
    assert table.weight.tolist() == [2, 0.5]
    assert read_libsvm(path, num_features=5).num_features == 5
    with pytest.raises(DataError, match="index 2 is not one of 2 features"):
        read_libsvm(path, num_features=2)
    path.write_text("1 0:1\n0 x:2\n")
    with pytest.raises(DataError, match="line 2"):
        read_libsvm(path)


KINDS = {"float": "float64", "int": "int64", "i": "bool", "c": "category"}
VALUES = {
    "float": st.one_of(st.floats(-1e30, 1e30), st.just(NAN)),
    "int": st.integers(-(2**40), 2**40),
    "i": st.booleans(),
    "c": st.sampled_from(["a", "b", "Z", "10", None]),
}


@given(st.data(), st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5), st.integers(1, 8))
def test_any_data_frame_becomes_the_numbers_that_xgboost_makes_of_it(data, kinds, rows):
    columns = {
        f"x{at}": pd.Series(data.draw(st.lists(VALUES[kind], min_size=rows, max_size=rows)), dtype=KINDS[kind])
        for at, kind in enumerate(kinds)
    }
    frame = pd.DataFrame(columns)
    assume(all(frame[name].notna().any() for name in frame.select_dtypes("category")))  # which XGBoost refuses

    table, arrow = from_pandas(frame), from_arrow(pa.Table.from_pandas(frame))
    by_xgboost = to_table(xgboost.DMatrix(frame, np.zeros(rows), enable_categorical=True))

    np.testing.assert_array_equal(table.features, by_xgboost.features)
    np.testing.assert_array_equal(arrow.features, by_xgboost.features)
    assert table.types == arrow.types == by_xgboost.types
    assert table.names == arrow.names == by_xgboost.names


class Fixed(DataLoader):
    def __init__(self, data):
        self.data = data

    def load_data(self):
        return self.data


def test_a_loader_knows_its_site_and_may_return_what_is_no_table(tmp_path):
    frame = FRAME.drop(columns=["town", "w"]).rename(columns={"event": "label"})
    matrix = xgboost.DMatrix(frame.drop(columns="label"), frame["label"], weight=[1, 2, 3])
    loader = Fixed((frame, matrix))

    train, validation = load(loader, "site-2", 1)

    assert (loader.client_id, loader.rank) == ("site-2", 1)
    np.testing.assert_array_equal(train.features, FEATURES[:, :3])
    np.testing.assert_array_equal(validation.features, train.features)
    assert (validation.names, validation.types) == (train.names, train.types)
    assert validation.label.tolist() == train.label.tolist()
    assert validation.weight.tolist() == [1, 2, 3]


def test_a_dmatrix_keeps_groups_bounds_and_the_names_of_its_categories():
    frame = pd.DataFrame({"town": pd.Categorical(["b", "a", "c", "b"])})
    matrix = xgboost.DMatrix(frame, [0, 1, 0, 1], qid=[1, 1, 2, 2], enable_categorical=True)
    matrix.set_float_info("label_lower_bound", np.ones(4))

    table = to_table(matrix)

    assert [table.categories[0][int(code)] for code in table.features[:, 0]] == ["b", "a", "c", "b"]
    assert table.group_starts.tolist() == [0, 2, 4]
    assert table.label_lower_bound.tolist() == [1, 1, 1, 1]
    with pytest.raises(DataError, match="QuantileDMatrix no longer holds"):
        to_table(xgboost.QuantileDMatrix(np.ones((3, 1)), [0, 1, 0]))


def test_names_of_categories_that_xgboost_garbles_are_refused():
    frame = pd.DataFrame({"town": pd.Categorical(["ä", "b"])})

    matrix = xgboost.DMatrix(frame, [0, 1], enable_categorical=True)
    if changed("names"):
        assert to_table(matrix).categories == {0: ("b", "ä")}
    else:
        with pytest.raises(DataError, match="return a data frame or a Table instead"):
            to_table(matrix)
    assert from_pandas(frame).categories == {0: ("b", "ä")}


def test_a_dmatrix_of_numbers_has_them_as_categories():
    matrix = xgboost.DMatrix(np.array([[0.0], [2.0]]), [0, 1], feature_types=["c"], enable_categorical=True)

    assert to_table(matrix).categories == {0: (0, 1, 2)}


def test_file_loaders_find_the_file_of_their_site(tmp_path):
    write(tmp_path / "site-1.csv")
    (tmp_path / "site-1.libsvm").write_text("1 1:5\n")
    loader = FileLoader(str(tmp_path / "{site}.csv"), "event", categorical=["town"], weight="w")

    train, validation = load(loader, "site-1", 0)

    np.testing.assert_array_equal(train.features, FEATURES)
    assert validation is None
    sparse, _ = load(LibsvmLoader(str(tmp_path / "{site}.libsvm"), 2, first_index=1), "site-1", 0)
    np.testing.assert_array_equal(sparse.features, np.array([[5, NAN]], np.float32))
    with pytest.raises(DataError, match=r"site-2: FileLoader: .*site-2.csv is not a file"):
        load(loader, "site-2", 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [((1, None), "the data are a int"), (FRAME, "must return two tables"), ((FRAME, None), "name it in categorical")],
)
def test_what_a_loader_may_not_return_is_named_with_its_site(data, message):
    with pytest.raises(DataError, match=f"site-1: Fixed: .*{message}"):
        load(Fixed(data), "site-1", 0)
