"""CSV files on a device."""

from __future__ import annotations

import numpy as np
import pytest

from flare_edge.device.data import Table, read_csv, table_from
from flare_edge.errors import EdgeError


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode("utf-8"))
        return path

    return write


def test_the_last_column_is_the_class_of_a_file_without_names(write):
    examples = read_csv(write("1,2,0\n3,4.5,1\n\n"))
    assert examples.inputs.tolist() == [[1, 2], [3, 4.5]]
    assert examples.targets.tolist() == [0, 1]
    assert (examples.inputs.dtype, examples.targets.dtype) == (np.float32, np.int64)


def test_columns_are_found_by_name_in_the_order_of_the_configuration(write):
    path = write('\ufeffkind;b;a\r\nyes;1;-2e-1\r\n"no";3;4\r\n')
    table = Table(target="kind", columns=("a", "b"), labels=("no", "yes"), scale=2)
    examples = read_csv(path, table)
    np.testing.assert_array_equal(examples.inputs, np.array([[-0.1, 0.5], [2, 1.5]], np.float32))
    assert examples.targets.tolist() == [1, 0]


def test_a_file_with_names_needs_no_column_list(write):
    examples = read_csv(write("y\tx1\tx2\n0\t1\t2\n"), Table(target="y"))
    assert examples.inputs.tolist() == [[1, 2]]


def test_a_linear_program_predicts_values(write):
    table = table_from({"program": {"kind": "linear", "inputs": 1}})
    examples = read_csv(write("1,2.5\n"), table)
    assert examples.targets.tolist() == [[2.5]]
    assert examples.targets.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "table", "said"),
    [
        ("", Table(), "is empty"),
        ("a,b\n", Table(), "no examples below"),
        ("1,2,0\n1,2\n", Table(), "line 2: 2 fields; the first line has 3"),
        ("a,b,y\n1,2,0\n1,none,0\n", Table(), "line 3, column b: 'none' is not a number"),
        ("a,y\n1,0.5\n", Table(), "the class 0.5 is not a whole number"),
        ("a,y\n1,-1\n", Table(), "the class -1"),
        ("a,y\n1,0\n", Table(target="z"), "no column 'z'; it has a, y"),
        ("a,y\n1,cat\n", Table(labels=("dog",)), "'cat' is none of the labels dog"),
        ("a,y\n1e999,0\n", Table(), "'1e999' is not a number"),
        ("a,y\nnan,0\n", Table(), "'nan' is not a number"),
        ("a,y\n1_0,0\n", Table(), "'1_0' is not a number"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_line_and_column(write, text, table, said):
    with pytest.raises(EdgeError, match=said):
        read_csv(write(text), table)
