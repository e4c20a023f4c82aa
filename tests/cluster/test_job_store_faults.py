"""The job store when its database is full, away, or busy with somebody else."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from cluster.errors import StoreFull, StoreUnavailable
from cluster.jobs import JobStatus, SqlStore, open_store
from cluster.jobs.database import Database, open_engine
from cluster.settings import DatabaseSettings
from tests.support.jobs import claim, counts, create, finish, new_job
from tests.support.ports import free_ports
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture
def sqlite(tmp_path: Path) -> DatabaseSettings:
    return DatabaseSettings(database_url=f"sqlite:///{tmp_path / 'farm.db'}")


def test_a_full_disk_is_said_so_and_keeps_every_acknowledged_job(sqlite: DatabaseSettings, tmp_path: Path) -> None:
    engine = open_engine(sqlite)

    @event.listens_for(engine, "connect")
    def _small(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 60").close()

    store = SqlStore(Database(engine))
    store.upgrade()
    acknowledged = []

    def fill() -> None:
        for number in range(1000):
            acknowledged.append(create(store, new_job(media_id=str(number), metadata={"x": "y" * 500}))[0])

    with pytest.raises(StoreFull) as caught:
        fill()
    assert caught.value.retryable
    assert acknowledged
    with pytest.raises(StoreFull):  # and the connection is fit for use
        create(store, new_job(metadata={"x": "y" * 5000}))
    assert counts(store)[JobStatus.QUEUED] == len(acknowledged)
    assert [job.id for job in store.list_jobs(limit=1000).jobs] == [job.id for job in acknowledged[::-1]]
    store.close()
    with sqlite3.connect(tmp_path / "farm.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_commit_survives_the_power_going_off(sqlite: DatabaseSettings) -> None:
    store = open_store(sqlite)
    store.upgrade()
    with store._db.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    store.close()


def test_a_writer_waits_for_another_process_and_readers_wait_for_nobody(
    sqlite: DatabaseSettings, tmp_path: Path
) -> None:
    store = open_store(sqlite)
    store.upgrade()
    other = sqlite3.connect(tmp_path / "farm.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE").close()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(create, store, new_job())
        assert counts(store)[JobStatus.QUEUED] == 0
        with pytest.raises(TimeoutError):
            writing.result(0.3)
        other.execute("COMMIT").close()
        assert writing.result(20)[1]
    other.close()
    store.close()


def test_a_file_that_is_no_database_is_unavailable(sqlite: DatabaseSettings, tmp_path: Path) -> None:
    (tmp_path / "farm.db").write_bytes(b"no database " * 1000)
    store = open_store(sqlite)
    with pytest.raises(StoreUnavailable):
        store.ping()
    store.close()


def test_a_server_that_is_not_there_is_said_so_without_the_password(tmp_path: Path) -> None:
    for host in (f"127.0.0.1:{free_ports(1)[0]}", "no-such-host.invalid:5432"):
        store = open_store(DatabaseSettings(database_url=f"postgresql://farm:hunter2@{host}/farm"))
        started = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            store.backlog()
        assert time.monotonic() - started < 15
        assert caught.value.retryable
        assert "hunter2" not in str(caught.value.to_wire())
        store.close()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with running_postgres() as server:
        server.create_database("farm")
        yield server


def test_a_server_that_crashed_loses_nothing_and_is_used_again_when_it_is_back(own_postgres: Postgres) -> None:
    store = open_store(own_postgres.settings("farm"))
    store.upgrade()
    acknowledged = [create(store, new_job(media_id=str(number)))[0].id for number in range(20)]
    (running,) = claim(store, "me", 60, 1)
    own_postgres.stop()
    for call in (store.backlog, store.ping, lambda: create(store, new_job())):
        with pytest.raises(StoreUnavailable):
            call()
    own_postgres.start()
    assert {job.id for job in store.list_jobs(limit=100).jobs} == set(acknowledged)
    assert finish(store, running, "ready").status is JobStatus.READY
    store.close()


def test_a_full_server_is_said_so_and_keeps_nothing_of_the_call(own_postgres: Postgres) -> None:
    store = open_store(own_postgres.settings("farm"))
    store.upgrade()
    with psycopg.connect(own_postgres.url("farm"), autocommit=True) as admin:
        admin.execute("""
            CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$
        """)
        # The second write of the transaction that makes a job.
        admin.execute("CREATE TRIGGER full_disk BEFORE INSERT ON job_events EXECUTE FUNCTION full_disk()")
        with pytest.raises(StoreFull) as caught:
            create(store, new_job())
        assert caught.value.retryable
        admin.execute("DROP TRIGGER full_disk ON job_events")
    assert sum(counts(store).values()) == 0
    create(store, new_job())
    store.close()


def test_a_claimer_does_not_wait_for_a_job_that_somebody_else_is_changing(own_postgres: Postgres) -> None:
    store = open_store(own_postgres.settings("farm"))
    store.upgrade()
    held, free = (create(store, new_job(media_id=media_id))[0] for media_id in ("held", "free"))
    with psycopg.connect(own_postgres.url("farm")) as other:
        other.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", [held.id])
        assert [job.id for job in claim(store, "me", 60, 10)] == [free.id]
        with ThreadPoolExecutor(1) as pool:
            cancelling = pool.submit(store.request_cancel, held.id)
            with pytest.raises(TimeoutError):
                cancelling.result(0.3)
            other.rollback()
            assert cancelling.result(20).status is JobStatus.CANCELLED
    store.close()


def test_a_claim_takes_the_first_in_line_without_sorting_the_line(sqlite: DatabaseSettings) -> None:
    store = open_store(sqlite)
    store.upgrade()
    plans: list[str] = []

    @event.listens_for(store._db.engine, "before_cursor_execute")
    def _explain(_c: Any, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if "jobs.priority" in statement:
            plans.extend(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())

    store.claim("me", 60, 10, ("bulk", "acme"))
    of_batches = [plan for plan in plans if "batches" in plan or "SUBQUERY" in plan]  # a job's recipe, by its key
    steps = [plan for plan in plans if plan not in of_batches]
    by_age = ["SEARCH jobs USING INDEX ix_jobs_open_org (priority=? AND org=?)"]
    assert steps == by_age, "with 100,000 waiting, sorting took a second"
    plans.clear()
    store.waiting()
    searches = [plan for plan in plans if " jobs " in plan]
    assert searches
    assert all("ix_jobs_open_org (priority=?" in plan for plan in searches), plans
    store.close()
