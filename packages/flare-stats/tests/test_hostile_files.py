"""Files of any content: rows, or a SourceError that names the file."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flare_stats.algebra import Categories, Distinct, Moments
from flare_stats.sources import SourceError, open_source

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)
CELLS = st.sampled_from(
    ["", "1", "-7", "2.5", "1e400", "nan", "inf", "NA", "true", "2020-01-01", '"', "a,b", "x\ny", "é"]
)
TABLE = pa.table({"a": [1, 2, None, 4], "b": ["x", None, "y", "z"]})


def made(ending: str) -> bytes:
    """A small, whole file."""
    file = io.BytesIO()
    if ending == "parquet":
        pq.write_table(TABLE, file)
    elif ending == "arrow":
        with pa.ipc.new_file(file, TABLE.schema) as writer:
            writer.write_table(TABLE)
    elif ending == "csv":
        file.write(b'a,b\n1,x\n2,\n,"y"\n4,z\n')
    else:
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, ending)
    return file.getvalue()


def read(path: Path) -> int | None:
    """Count all values of a source; return the number of rows, or None if it is refused."""
    try:
        source = open_source(path)
        kinds = {column.name: column.kind for column in source.features()}
        rows = 0
        for chunk in source.chunks(rows=3):
            rows += chunk.num_rows
            for name, kind in kinds.items():
                for whole in (Moments(), Categories(), Distinct(bytes(16))):
                    whole.add(chunk.column(name), *([kind] if isinstance(whole, Distinct) else []))
    except SourceError as error:
        refused = str(error)
    else:
        return rows
    assert path.name in refused
    return None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Arrow: a line that is no UTF-8
@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["csv", "parquet", "arrow", "png", "jpeg", "tiff", "gif"]), st.data())
def test_a_damaged_file_is_read_or_refused_by_name(ending: str, data: st.DataObject) -> None:
    content = bytearray(made(ending))
    match data.draw(st.sampled_from(["cut", "changed", "random"])):
        case "cut":
            del content[data.draw(st.integers(0, len(content))) :]
        case "changed":
            for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
                content[at] = data.draw(st.integers(0, 255))
        case _:
            content = bytearray(data.draw(st.binary(max_size=200)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file.{ending}")
        path.write_bytes(content)
        read(path if ending in ("csv", "parquet", "arrow") else path.parent)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELLS | TEXT, CELLS | TEXT), max_size=12))
def test_each_row_that_a_writer_of_csv_quotes_is_read(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("a", "b"), *rows])
        assert read(path) == len(rows)


@pytest.mark.parametrize("length", [1 << 19, 1 << 22])
def test_a_very_long_cell_is_read_or_refused_by_name(length: int, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("a,b\n" + "1,2\n" * 10 + "x" * length + ",2\n")
    assert read(path) in (11, None)


@pytest.mark.parametrize("dtype", [object, pd.StringDtype("python")])
def test_text_that_utf8_cannot_hold_is_counted(dtype: Any) -> None:
    categories = Categories()
    for chunk in open_source(pd.DataFrame({"x": pd.Series(["a", "\udc80", None], dtype=dtype)})).chunks():
        categories.add(chunk.column(0))
    assert categories.counts == {"a": 1, "?": 1}


def test_a_column_of_any_objects_is_counted() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    values: list[Any] = [
        1,
        "x",
        None,
        Odd(),
        2.5,
        [1],
        {"a": 1},
        b"y",
        10**40,
        float("inf"),
        pd.NaT,
        pd.Timestamp(0),
        (),
    ]
    source = open_source(pd.DataFrame({"x": pd.Series(values, dtype=object)}))
    assert [column.kind for column in source.features()] == ["text"]
    categories = Categories()
    for chunk in source.chunks():
        categories.add(chunk.column(0))
    assert (categories.count, categories.missing) == (11, 2)
    assert categories.counts["odd"] == 1
