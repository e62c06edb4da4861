"""The server's database: the migrations create the tables that the code expects, and upgrade old ones."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from flare_deploy.server import store as module
from flare_deploy.server.store import JobRow, Participant, Store, StoreError


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'flare.db'}"


def test_the_migrations_create_the_tables_that_the_code_declares(url):
    Store(url).close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), module.metadata) == []
    engine.dispose()


def test_rows_are_there_when_the_database_is_reopened(url):
    store = Store(url)
    store.add_job(JobRow("1", "hello", "default", "admin", "b" * 64, needs={"min_clients": 2}))
    store.put_participant(Participant("site-1", "client", studies="heart,lung"))
    store.close()
    store = Store(url)
    store.update_job("1", state="running", attempts=2)
    assert store.job("1").needs == {"min_clients": 2}
    assert [each.id for each in store.jobs(states=("running",))] == ["1"]
    assert store.has_blob("b" * 64)
    (site,) = store.participants()
    assert site.name == "site-1"
    assert site.is_in("lung")
    assert not site.is_in("default")
    store.delete_job("1")
    assert not store.has_blob("b" * 64)
    with pytest.raises(StoreError, match="there is no job '1'"):
        store.job("1")
    store.close()


def test_jobs_come_in_pages_oldest_first(url):
    store = Store(url)
    for number, submitted in enumerate((3.0, 1.0, 2.0, 2.0, 5.0)):
        study = "lung" if number == 4 else "heart"
        store.add_job(JobRow(str(number), "job", study, "admin", "b" * 64, submitted=submitted))
    pages, after = [], None
    while page := store.jobs(studies=["heart"], limit=3, after=after):
        pages.append([each.id for each in page])
        after = page[-1]
    assert pages == [["1", "2", "3"], ["0"]]
    assert [each.id for each in store.jobs(limit=1)] == ["1"]
    assert store.jobs(studies=[]) == []
    store.close()


def test_a_database_of_an_older_version_is_upgraded(url):
    store = Store(url)
    store.put_participant(Participant("site-1", "client"))
    store.close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        command.downgrade(module.migrations(connection), "0001")
        assert "address" not in {each["name"] for each in sa.inspect(connection).get_columns("participants")}
    engine.dispose()
    store = Store(url)
    (site,) = store.participants()
    assert site.name == "site-1"
    assert site.address == ""
    store.close()


def test_an_error_names_the_database_without_its_password():
    with pytest.raises(StoreError, match=r"postgresql\+psycopg://flare:\*\*\*@127.0.0.1:1/flare cannot be used"):
        Store("postgresql+psycopg://flare:secret@127.0.0.1:1/flare")
    with pytest.raises(StoreError, match="nonsense"):
        Store("nonsense")
