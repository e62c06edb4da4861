from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy

from flare_stats.algebra import Moments, to_numbers
from flare_stats.sources import Source, SourceError, open_source

TABLE = pa.table(
    {
        "age": pa.array([40, None, 51], pa.int64()),
        "sex": ["f", "m", None],
        "bmi": [20.5, 22.0, None],
        "flag": [True, False, None],
        "when": pa.array([dt.datetime(2020, 1, 2, 3, 4, 5), None, dt.datetime(2021, 1, 1)], pa.timestamp("s")),
    }
)
KINDS = {"age": "int", "sex": "text", "bmi": "float", "flag": "bool", "when": "datetime"}


def moments(source: Source, name: str) -> Moments:
    kind = {column.name: column.kind for column in source.features()}[name]
    found = Moments()
    for chunk in source.chunks([name]):
        found.add(to_numbers(chunk.column(0), kind))
    return found


def kinds(source: Source) -> dict[str, str]:
    return {column.name: column.kind for column in source.features()}


def csv_file(folder: Path) -> Path:
    TABLE.to_pandas().convert_dtypes().to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


def parquet_file(folder: Path) -> Path:
    pq.write_table(TABLE, folder / "data.parquet")
    return folder / "data.parquet"


def arrow_file(folder: Path) -> Path:
    with pa.ipc.new_file(folder / "data.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE)
    return folder / "data.arrow"


def arrow_stream(folder: Path) -> Path:
    with pa.ipc.new_stream(folder / "data.feather", TABLE.schema) as writer:
        writer.write_table(TABLE)
    return folder / "data.feather"


def pandas_arrow(_: Path) -> pd.DataFrame:
    return TABLE.to_pandas(types_mapper=pd.ArrowDtype)


def pandas_frame(_: Path) -> pd.DataFrame:
    return TABLE.to_pandas().convert_dtypes()


def arrow_table(_: Path) -> pa.Table:
    return TABLE


def polars_frame(_: Path) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(TABLE))


def polars_lazy(_: Path) -> pl.LazyFrame:
    return polars_frame(_).lazy()


def sqlite_table(folder: Path) -> dict[str, str]:
    url = f"sqlite:///{folder / 'data.db'}"
    engine = sqlalchemy.create_engine(url)
    metadata = sqlalchemy.MetaData()
    of = {"age": "Integer", "sex": "Text", "bmi": "Float", "flag": "Boolean", "when": "DateTime"}
    table = sqlalchemy.Table(
        "data", metadata, *(sqlalchemy.Column(name, getattr(sqlalchemy, kind)) for name, kind in of.items())
    )
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(table.insert(), TABLE.to_pylist())
    engine.dispose()
    return {"path": url, "table": "data"}


FILES = [csv_file, parquet_file, arrow_file, arrow_stream, sqlite_table]
SPECS = [*FILES, pandas_arrow, pandas_frame, arrow_table, polars_frame, polars_lazy]


@pytest.mark.parametrize("made", SPECS)
def test_each_source_has_the_same_columns_and_values(made: Callable[[Path], Any], tmp_path: Path) -> None:
    source = open_source(made(tmp_path))
    assert kinds(source) == KINDS
    for name in KINDS:
        ours, true = moments(source, name), moments(open_source(TABLE), name)
        if name != "sex":
            assert ours.to_data() == true.to_data()
        assert ours.missing == 1


@pytest.mark.parametrize("made", SPECS)
def test_columns_are_read_in_the_order_asked_for_and_in_chunks_of_few_rows(
    made: Callable[[Path], Any], tmp_path: Path
) -> None:
    source = open_source(made(tmp_path), columns=["bmi", "flag", "age"])
    assert [column.name for column in source.features()] == ["bmi", "flag", "age"]
    chunks = list(source.chunks(["age", "bmi"], rows=2))
    assert [chunk.num_rows for chunk in chunks] == [2, 1]
    assert [chunk.schema.names for chunk in chunks] == [["age", "bmi"]] * 2
    assert chunks[1].column(0).to_pylist() == [51]


@pytest.mark.parametrize("made", SPECS)
def test_an_unknown_column_is_refused_by_name(made: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no column 'weight'; it has: age, sex"):
        list(open_source(made(tmp_path)).chunks(["weight"]))


def test_dtypes_of_pandas_have_their_kinds() -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], "Int64"),
            "huge": pd.array([2**64 - 1, None, 0], "UInt64"),
            "float": pd.array([1.5, None, 2], "Float64"),
            "boolean": pd.array([True, None, False], "boolean"),
            "string": pd.array(["a", None, "b"], "string"),
            "text": ["a", None, "b"],
            "grade": pd.Categorical(["low", None, "high"]),
            "day": pd.to_datetime(["2020-01-01", None, "2020-01-02"]),
            "zone": pd.to_datetime(["2020-01-01", None, "2020-01-02"]).tz_localize("Europe/Paris"),
            "stay": pd.to_timedelta([1, None, 2], unit="D"),
            "month": pd.PeriodIndex(["2020-01", None, "2020-02"], freq="M"),
            "range": pd.arrays.IntervalArray.from_tuples([(0, 1), None, (1, 2)]),
            "sparse": pd.arrays.SparseArray([1.0, np.nan, 2.0]),
            "half": np.array([1, np.nan, 2], np.float16),
            "complex": np.array([1, np.nan, 2j]),
            "objects": np.array([1, None, 2], object),
            "mixed": np.array([1, None, "x"], object),
            "bytes": np.array([b"1", None, b"2"], object),
            "lists": np.array([[1], None, [2]], object),
            "none": np.array([None] * 3, object),
        }
    )
    source = open_source(frame)
    assert kinds(source) == {
        **{"nullable": "int", "huge": "int", "float": "float", "boolean": "bool", "string": "text", "text": "text"},
        **{"grade": "category", "day": "datetime", "zone": "datetime", "stay": "float", "sparse": "float"},
        **{"half": "float", "complex": "text", "objects": "int", "mixed": "text", "none": "empty"},
        **{"month": "datetime", "range": "other", "bytes": "other", "lists": "other"},
    }
    for name in frame:
        found = moments(source, name)
        assert found.missing == (3 if name == "none" else 1), name
    assert moments(source, "huge").max == 2**64 - 1


POLARS = {
    "categorical": (pl.Categorical, ["a", None, "b"], "category"),
    "enum": (pl.Enum(["a", "b"]), ["a", None, "b"], "category"),
    "date": (pl.Date, [dt.date(2020, 1, 1), None, None], "datetime"),
    "zone": (pl.Datetime(time_zone="Europe/Paris"), [dt.datetime(2020, 1, 1), None, None], "datetime"),
    "duration": (pl.Duration, [dt.timedelta(1), None, None], "float"),
    "time": (pl.Time, [dt.time(1), None, None], "float"),
    "decimal": (pl.Decimal(10, 2), ["1.5", None, "2.5"], "float"),
    "wide": (pl.Int128, [2**100, None, 1], "float"),
    "list": (pl.List(pl.Int64), [[1], None, [2]], "other"),
    "struct": (pl.Struct({"a": pl.Int64}), [{"a": 1}, None, {"a": 2}], "other"),
    "null": (pl.Null, [None, None, None], "empty"),
    "object": (pl.Object, [object(), None, object()], "other"),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", POLARS)
def test_dtypes_of_polars_have_their_kinds(name: str, lazy: bool) -> None:
    dtype, values, kind = POLARS[name]
    frame = pl.DataFrame({"x": pl.Series(values, dtype=dtype, strict=False)})
    source = open_source(frame.lazy() if lazy else frame)
    assert kinds(source) == {"x": kind}
    missing = sum(chunk.column(0).null_count for chunk in source.chunks(rows=2))
    assert missing == frame["x"].null_count()


def test_a_pandas_frame_without_rows_has_columns() -> None:
    source = open_source(pd.DataFrame({"a": np.array([], float), "b": np.array([], object)}))
    assert kinds(source) == {"a": "float", "b": "empty"}
    assert moments(source, "a").count == 0


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(SourceError, match="2 columns named 'a'"):
        open_source(pd.DataFrame([[1, 2]], columns=["a", "a"])).features()


def write_blocks(path: Path, first: str, later: str) -> Path:
    """A CSV file whose first 5 MiB hold one value and whose end holds another."""
    path.write_text("id,value\n" + f"1,{first}\n" * 1_500_000 + f"1,{later}\n" * 3)
    return path


@pytest.mark.parametrize(
    ("first", "later", "kind", "count", "failures"),
    [
        ("17", "2.5", "int", 1_500_003, 0),
        ("17", "high", "int", 1_500_000, 3),
        ("1.5", "high", "float", 1_500_000, 3),
        ("true", "high", "bool", 1_500_000, 3),
        ("2020-01-01", "soon", "datetime", 1_500_000, 3),
        ("NA", "7", "int", 3, 0),
    ],
)
def test_a_later_block_of_another_type_counts_as_far_as_it_goes(
    first: str, later: str, kind: str, count: int, failures: int, tmp_path: Path
) -> None:
    source = open_source(write_blocks(tmp_path / "data.csv", first, later))
    assert kinds(source) == {"id": "int", "value": kind}
    found = moments(source, "value")
    assert (found.count, found.failures) == (count, failures)
    assert moments(source, "id").count == 1_500_003


def test_columns_that_fail_one_after_the_other_lose_no_row(tmp_path: Path) -> None:
    count, names = 120_000, "abcdefg"
    bad = {name: count - 1000 * (9 - at) for at, name in enumerate(names)}
    lines = (",".join("x" if row == bad[name] else str(row) for name in names) for row in range(count))
    (tmp_path / "data.csv").write_text(",".join(names) + "\n" + "\n".join(lines) + "\n")
    source = open_source(tmp_path / "data.csv")
    assert set(kinds(source).values()) == {"int"}
    for chunk_columns in ([*names], ["g", "a"]):
        found = {name: Moments() for name in chunk_columns}
        for chunk in source.chunks(chunk_columns):
            for name in chunk_columns:
                found[name].add(chunk.column(name))
        for name, each in found.items():
            assert (each.count, each.failures) == (count - 1, 1)
            assert each.sum == sum(range(count)) - bad[name]


def test_columns_without_values_at_first_or_at_all_are_told_apart(tmp_path: Path) -> None:
    lines = "1,,,\n" * 400_000 + "1,2.5,,x\n" + "1,,,\n"
    (tmp_path / "data.csv").write_text("a,b,c,d\n" + lines)
    source = open_source(tmp_path / "data.csv")
    assert kinds(source) == {"a": "int", "b": "float", "c": "empty", "d": "text"}
    assert moments(source, "c").missing == 400_002
    (tmp_path / "header.csv").write_text("a,b\n")
    assert kinds(open_source(tmp_path / "header.csv")) == {"a": "empty", "b": "empty"}
    assert list(open_source(tmp_path / "header.csv").chunks()) == []


def test_lines_with_too_many_cells_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n1,2,3\n4\n5,6\n")
    source = open_source(tmp_path / "data.csv")
    assert moments(source, "a").sum == 6
    assert source.skipped == 2
    assert moments(source, "b").count == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'data.csv'}: rows that cannot be read were skipped, rows=2"
    ]


def test_cells_may_hold_line_breaks_and_delimiters(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('a,b\n"x\ny, z",1\n"""q""",2\n')
    chunk = next(open_source(tmp_path / "data.csv").chunks())
    assert chunk.to_pylist() == [{"a": "x\ny, z", "b": 1}, {"a": '"q"', "b": 2}]


def test_an_encoding_that_is_not_utf8_must_be_told(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes("name;n\nJosé;1\n".encode("latin-1"))
    with pytest.raises(SourceError, match='"encoding", such as "latin-1"'):
        list(open_source(tmp_path / "data.csv", delimiter=";").chunks())
    source = open_source({"path": str(tmp_path / "data.csv"), "delimiter": ";", "encoding": "latin-1"})
    assert next(source.chunks()).to_pylist() == [{"name": "José", "n": 1}]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_line_that_cannot_be_decoded_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes("name,n\nann,1\nJosé,2,3\n".encode("latin-1"))
    with pytest.raises(SourceError, match=r'"encoding", such as "latin-1" \(a line that cannot be decoded\)') as raised:
        list(open_source(tmp_path / "data.csv").chunks())
    assert "Jos" not in "".join(traceback.format_exception(raised.value))


def test_another_delimiter_must_be_told(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a;b\n1;2\n")
    with pytest.raises(SourceError, match=r"has a single column, and its name holds ';'; .*\"delimiter\": ';'"):
        open_source(tmp_path / "data.csv").features()
    assert kinds(open_source(tmp_path / "data.csv", delimiter=";")) == {"a": "int", "b": "int"}
    assert kinds(open_source(tmp_path / "data.csv", delimiter=",")) == {"a;b": "text"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.csv", "there is no file nowhere.csv"),
        ({}, 'needs a "path", got: nothing'),
        ({"path": TABLE, "colunms": []}, "unknown option 'colunms'; there are|unknown option 'colunms' of a source"),
        ({"path": TABLE, "delimiter": ";"}, "'delimiter' is not for data in memory"),
        (17, "a int is no source"),
    ],
)
def test_what_cannot_be_opened_is_named(spec: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(spec)


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow", "xyz"])
def test_a_damaged_file_is_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"data.{ending}"
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=path.name):
        list(open_source(path).chunks())


def test_files_of_a_folder_are_one_data_set(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    csv_file(tmp_path).rename(tmp_path / "b.csv")
    source = open_source({"path": tmp_path, "columns": ["age", "bmi"]})
    assert kinds(source) == {"age": "int", "bmi": "float"}
    assert (moments(source, "age").sum, moments(source, "age").missing) == (182, 2)


def test_a_file_of_a_folder_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pq.write_table(TABLE.drop_columns("bmi"), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"column 'bmi' is in .*a\.parquet but not in .*b\.parquet"):
        open_source(tmp_path).features()
