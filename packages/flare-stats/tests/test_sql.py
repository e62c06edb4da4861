from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest

from flare_stats.algebra import Moments, to_numbers
from flare_stats.sources import SourceError, open_source
from flare_stats.sources.sql import as_array


@pytest.fixture
def url(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "ward.db") as database:
        database.execute(
            "create table stays (id integer, age integer, bmi real, sex text, day date, ok boolean, x blob)"
        )
        rows = [(at, 20 + at % 7, None if at % 10 == 0 else at / 4, "mf"[at % 2]) for at in range(1000)]
        database.executemany("insert into stays values (?, ?, ?, ?, '2020-01-02', 1, x'00')", rows)
        database.execute("create table empty (a integer, b real)")
    database.close()
    return f"sqlite:///{tmp_path / 'ward.db'}"


def kinds(source: Any) -> dict[str, str]:
    return {column.name: column.kind for column in source.features()}


def moments(source: Any, name: str) -> Moments:
    found = Moments()
    for chunk in source.chunks([name], rows=64):
        assert chunk.num_rows <= 64
        found.add(to_numbers(chunk.column(0), kinds(source)[name]))
    return found


def test_a_table_has_the_kinds_that_it_declares(url: str) -> None:
    source = open_source({"path": url, "table": "stays"})
    assert kinds(source) == {
        **{"id": "int", "age": "int", "bmi": "float", "sex": "text", "day": "datetime", "ok": "bool", "x": "other"}
    }
    age, bmi = moments(source, "age"), moments(source, "bmi")
    assert (age.count, age.sum, age.min, age.max) == (1000, sum(20 + at % 7 for at in range(1000)), 20, 26)
    assert (bmi.count, bmi.missing) == (900, 100)
    assert moments(source, "day").min == 1_577_923_200
    assert moments(source, "ok").sum == 1000


def test_a_query_has_the_kinds_of_its_values(url: str) -> None:
    query = "select age, bmi, null as none, '10:30 %s :age' as text from stays where id % 2 = 0 order by id;"
    source = open_source({"path": url, "query": query})
    assert kinds(source) == {"age": "int", "bmi": "float", "none": "empty", "text": "text"}
    assert moments(source, "age").count == 500
    assert next(source.chunks(["text", "age"], rows=1)).to_pylist() == [{"text": "10:30 %s :age", "age": 20}]


def test_a_column_that_is_empty_at_first_has_the_kind_of_its_first_value(url: str) -> None:
    query = "select case when id > 900 then id end as late from stays"
    assert kinds(open_source({"path": url, "query": query})) == {"late": "int"}


def test_values_of_several_types_in_one_column_are_failures_and_no_crash(url: str) -> None:
    query = "select case when id % 10 = 3 then 'x' when id % 10 = 4 then x'00' else id end as mixed from stays"
    found = moments(open_source({"path": url, "query": query}), "mixed")
    assert (found.count, found.failures) == (800, 200)


def test_nothing_is_found_in_an_empty_table_but_its_columns(url: str) -> None:
    assert kinds(open_source({"path": url, "table": "main.empty"})) == {"a": "int", "b": "float"}
    source = open_source({"path": url, "query": "select * from empty"})
    assert kinds(source) == {"a": "empty", "b": "empty"}
    assert list(source.chunks()) == []


@pytest.mark.parametrize("query", ["delete from stays", "drop table stays", "insert into empty values (1, 2)"])
def test_a_query_cannot_change_the_database(query: str, url: str) -> None:
    with pytest.raises(SourceError, match="readonly"):
        open_source({"path": url, "query": query}).features()
    assert moments(open_source({"path": url, "table": "stays"}), "age").count == 1000


def test_a_pass_that_is_given_up_leaves_no_connection(url: str) -> None:
    chunks = open_source({"path": url, "table": "stays"}).chunks(rows=10)
    next(chunks)
    chunks.close()  # a connection that is left to the garbage collector is a warning, and warnings are errors


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"table": "nowhere"}, "nowhere"),
        ({"query": "select weight from stays"}, "no such column"),
        ({"query": "selekt"}, "syntax error"),
        ({"query": "pragma query_only = ON"}, "returns no rows"),
        ({}, 'give either "query" or "table"'),
        ({"query": "select 1", "table": "stays"}, 'give either "query" or "table"'),
        ({"query": "select 1 as a, 2 as a"}, "2 columns named 'a'"),
        ({"query": "select 1", "delimiter": ";"}, "'delimiter' is not for a database"),
    ],
)
def test_what_a_database_cannot_answer_is_named(spec: dict[str, str], message: str, url: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source({"path": url, **spec}).features()


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no file"):
        open_source(f"sqlite:///{tmp_path / 'none.db'}", table="stays")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("url", ["postgresql+none://u:secret@host/db", "postgresql+psycopg2://u:secret@127.0.0.1:9/db"])
def test_an_error_never_shows_the_password(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(url, table="stays").features()
    assert "u:***@" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_url_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(SourceError, match="dialect"):
        open_source("my secret://", table="a")


def test_rows_are_fetched_while_they_are_read(url: str) -> None:
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select x from n"
    source = open_source({"path": url, "query": endless})
    assert kinds(source) == {"x": "int"}
    chunks = source.chunks(rows=100)
    assert next(chunks).column(0).to_pylist() == list(range(1, 101))
    chunks.close()


def test_values_without_a_type_of_arrow_are_text() -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    assert as_array([one, None, other]).to_pylist() == [str(one), None, str(other)]
    assert as_array([1, "x", None]).to_pylist() == ["1", "x", None]
    assert as_array([10**30, None]).to_pylist() == [str(10**30), None]
