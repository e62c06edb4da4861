"""The ids of a site: rules, files, and how they are kept."""

from __future__ import annotations

import os
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_core import RecipeError
from flare_psi import PSIError
from flare_psi.ids import FileItems, Items, Normalisation
from flare_psi.ids.items import decode, encode


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("", " A ", " A "),
        ("trim", " A\t", "A"),
        ("case", "STRASSE straße İ", "strasse strasse i̇"),
        ("nfc", "e\u0301", "é"),
        ("nfkc", "ﬁ ①", "fi 1"),
        ("nfkc, case", "ＡＢ", "ab"),
        ("email", " Ann.Lee+x@Example.ORG ", "ann.lee+x@example.org"),
        ("email", "ann@", None),
        ("email", "ann at example.org", None),
        ("email", "a@b@c", None),
        ("phone:49", "0170 123-45.67", "+491701234567"),
        ("phone:49", "+49 (170) 1234567", "+491701234567"),
        ("phone:49", "0049/1701234567", "+491701234567"),
        ("phone:1", "(212) 555-0100", "+12125550100"),
        ("phone:49", "n/a", None),
        ("phone:49", "٠١٢٣٤٥٦٧", None),
        ("phone:49", "1234567890123456", None),
        ("date:%d.%m.%Y", " 1.2.1990 ", "1990-02-01"),
        ("date:%Y-%m-%d|%m/%d/%Y", "02/01/1990", "1990-02-01"),
        ("date:%Y-%m-%d", "1990-02-30", None),
        ("date:%d.%m.%Y", "01.02.90", None),
    ],
)
def test_rules_bring_spellings_together(rule, text, expected):
    found = Normalisation(rule).apply([text])
    assert found == (None if expected is None else (expected,))


@pytest.mark.parametrize("rule", ["trim", "case", "nfc", "nfkc", "email", "phone:49", "date:%Y-%m-%d"])
@given(text=st.text(st.characters(codec="latin-1")))
def test_a_rule_changes_nothing_that_it_has_made(rule, text):
    apply = Normalisation(rule).apply
    once = apply([text])
    assert once is None or apply(once) == once


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("lower", "unknown rule 'lower'; use trim, case"),
        (["email", "soundex"], "unknown rule 'soundex'"),
        ("phone", "'phone:'; give the country's code"),
        ("phone:0", "give the country's code"),
        ("date:%d.%m", "date format '%d.%m'; give %d, %m and %Y"),
        ("date:%d.%b.%Y", "give %d, %m and %Y"),
        (3, "normalize"),
        ([3], "give the rules of each column as text"),
    ],
)
def test_rules_that_cannot_be_used_are_named(rules, message):
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        Normalisation(rules)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_an_encoded_key_gives_back_its_parts(parts):
    assert decode(encode(parts)) == parts


@given(st.lists(st.text(max_size=3), min_size=1, max_size=3), st.lists(st.text(max_size=3), min_size=1, max_size=3))
def test_different_keys_have_different_bytes(one, other):
    assert (encode(one) == encode(other)) == (one == other)


def load(path, column=None, **how):
    reader = FileItems(str(path), column, **how)
    reader.site = "site-1"
    return [key if len(key) > 1 else key[0] for key in reader.load_items()]


def test_files_of_text_csv_and_parquet_give_the_same_ids(tmp_path):
    ids = ["007", "é", " x ", "a,b", 'say "hi"', "7"]
    (tmp_path / "a.txt").write_bytes("\r\n".join(ids).encode())
    quoted = "".join('{},"{}"\r\n'.format(at, each.replace('"', '""')) for at, each in enumerate(ids))
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + f"n,id\r\n{quoted}".encode())
    (tmp_path / "a.tsv").write_text("id\tn\n" + "".join(f"{each}\t1\n" for each in ids if '"' not in each))
    pq.write_table(pa.table({"id": ids, "n": range(len(ids))}), tmp_path / "a.parquet")
    assert load(tmp_path / "a.txt") == ids
    assert load(tmp_path / "{site}.csv".replace("{site}", "a"), "id") == ids
    assert load(tmp_path / "a.parquet", "id") == ids
    assert load(tmp_path / "a.tsv", "id") == [each for each in ids if '"' not in each]


def test_columns_are_read_in_the_order_of_the_key_and_integers_as_text(tmp_path):
    table = pa.table({"b": pa.array([1, None], pa.int32()), "a": pa.array(["x", "y"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet", ["a", "b"]) == [("x", "1"), ("y", "")]


def test_a_delimiter_and_an_encoding_can_be_given(tmp_path):
    (tmp_path / "a.csv").write_text("n;id\n1;é\n2;a,b\n", encoding="latin-1")
    (tmp_path / "a.txt").write_text("é\n", encoding="utf-16")
    (tmp_path / "b.csv").write_text("\ufeffid|n\né|1\n", encoding="utf-8")
    assert load(tmp_path / "a.csv", "id", delimiter=";", encoding="latin-1") == ["é", "a,b"]
    assert load(tmp_path / "a.txt", encoding="utf-16") == ["é"]
    assert load(tmp_path / "b.csv", "id", delimiter="|", encoding="UTF8") == ["é"]


def test_the_name_of_the_site_stands_in_a_path(tmp_path):
    (tmp_path / "site-1.txt").write_text("a\n")
    assert load(tmp_path / "{site}.txt") == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("missing.csv", None, "id", "missing.csv is not a file"),
        ("a.xlsx", b"", "id", "end the name in .txt, .csv"),
        ("a.csv", b"id\na\n", None, "name the column"),
        ("a.csv", b"id,x\na,1\n", "mail", "there is no column 'mail'; the columns are id, x"),
        ("a.csv", b"id,id\na,1\n", "id", "there are two columns 'id'"),
        (
            "a.csv",
            b"id;x\na;1\n",
            "id",
            "no column 'id'; ',' makes a single .* give 'delimiter': ';' in per_site",
        ),
        (
            "a.tsv",
            b"id,x\na,1\n",
            ["x", "id"],
            "no column 'x'; .* 'id,x'; if ',' separates its cells, give",
        ),
        ("a.csv", b"id;x\na;1\n", "id;y", "if ';' separates"),
        ("a.csv", b"", "id", "there is no column 'id'"),
        ("a.csv", b"id,x\na,1\nb\n", "id", "line 3: has 1 fields, the header 2"),
        ("a.csv", b'id\n"a"b\n', "id", "line 2: "),
        ("a.csv", b"id\n\xff\xfe\n", "id", "is not UTF-8 .* give its encoding in per_site_config"),
        ("a.txt", b"\xff\n", None, "is not UTF-8"),
        ("a.parquet", b"not a table", "id", "a.parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, column, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PSIError, match=message):
        load(tmp_path / name, column)


def test_a_parquet_file_that_is_damaged_in_the_middle_is_named(tmp_path):
    ids = pa.table({"id": [f"id {at}" for at in range(100_000)]})
    pq.write_table(ids, tmp_path / "a.parquet", compression="zstd")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = b"\xff" * 4000
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(PSIError, match=r"a\.parquet: cannot be read as Parquet"):
        load(tmp_path / "a.parquet", "id")


def test_a_parquet_column_that_is_not_utf_8_is_named(tmp_path):
    ends = np.array([0, 1, 2], np.int32)
    text = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(ends), pa.py_buffer(b"a\xff")])
    pq.write_table(pa.table({"id": text}), tmp_path / "a.parquet")
    with pytest.raises(PSIError, match=r"a\.parquet: holds text that is not UTF-8"):
        load(tmp_path / "a.parquet", "id")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.parquet"])
def test_a_file_that_may_not_be_read_is_named(tmp_path, name):
    (tmp_path / name).write_text("id\nann\n")
    (tmp_path / name).chmod(0)
    with pytest.raises(PSIError, match=rf"{name}: cannot be read"):
        load(tmp_path / name, "id")


def test_a_parquet_column_of_fractions_is_refused(tmp_path):
    pq.write_table(pa.table({"id": [1.5]}), tmp_path / "a.parquet")
    with pytest.raises(PSIError, match="column 'id' has the type double; ids are text or integers"):
        load(tmp_path / "a.parquet", "id")


def write(folder, items, **arguments):
    given = {"columns": ["id"], "normalisation": Normalisation(None)} | arguments
    return Items.write(folder, items, **given)


def test_items_are_kept_once_with_their_first_row_and_count(tmp_path):
    items = write(tmp_path, ["b", "a", "", "b", "c", "b"])
    assert (items.rows, items.left_out, items.distinct, len(items)) == (6, 1, 3, 3)
    assert items.first_rows.tolist() == [0, 1, 4]
    assert items.counts.tolist() == [3, 1, 1]
    in_order = [decode(key)[0] for key in Items.open(tmp_path).keys(range(3))]
    assert in_order == [["b", "a", "c"][at] for at in items.order]


def test_ids_that_differ_only_in_their_end_are_different(tmp_path):
    assert write(tmp_path, ["a", "a\0", "a\0\0", "\0a"]).distinct == 4


def test_the_order_is_another_each_time(tmp_path):
    orders = []
    for at in range(2):
        (tmp_path / str(at)).mkdir()
        orders.append(write(tmp_path / str(at), map(str, range(100))).order.tolist())
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(100))


def test_padding_fills_up_to_a_multiple_with_keys_of_32_random_bytes(tmp_path):
    items = write(tmp_path, ["a", "b", "c"], pad_to=4)
    keys = items.keys(range(4))
    assert [len(key) for at, key in zip(items.order, keys, strict=True) if at >= items.distinct] == [32]
    (tmp_path / "none").mkdir()
    assert len(write(tmp_path / "none", [], pad_to=4)) == 4
    (tmp_path / "full").mkdir()
    assert len(write(tmp_path / "full", "abcd", pad_to=4)) == 4


def test_files_are_for_this_user_alone_and_are_not_there_before_they_are_complete(tmp_path):
    def broken():
        yield "a"
        raise ValueError("the source ends")

    with pytest.raises(ValueError, match="the source ends"):
        write(tmp_path, broken())
    assert not Items.are_in(tmp_path)
    write(tmp_path, ["a"])
    assert Items.are_in(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "row 1 is a int; give text"),
        (("a", "b"), "row 1 has 2 parts, not 1"),
        (("a", 7), "give text"),
        (None, "NoneType"),
    ],
)
def test_an_item_that_is_no_id_is_named_by_its_row(tmp_path, item, message):
    with pytest.raises(PSIError, match=message):
        write(tmp_path, ["a", item])


def test_many_rows_of_few_ids_are_kept_once(tmp_path):
    items = write(tmp_path, (str(at % 1000) for at in range(200_000)))
    assert items.distinct == 1000
    assert np.all(items.counts == 200)
