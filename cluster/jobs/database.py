"""The database under the job store: connections, transactions, its clock, and its errors as ours."""

import math
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Interval, Select, Table, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql.expression import ColumnElement

from cluster.errors import InvalidJob, SettingsInvalid, StoreError, StoreFull, StoreOutdated, StoreUnavailable
from cluster.jobs.model import Prepared, dumped, unstorable
from cluster.jobs.tables import UtcTime, utc_text
from cluster.settings import DatabaseSettings

POOL_SIZE = 10
POOL_WAIT_S = 10.0
CONNECT_S = 5
STATEMENT_MS = 30_000
SQLITE_BUSY_MS = 15_000  # another process writes; one commit takes milliseconds


class Database:
    """An engine with the transactions that the store needs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(farm_writes=True)
        self._is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer at a time, and lets the others poll for their turn; threads can wait in line instead.
        self._turn = threading.Lock()
        self._moment = select(self.now())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with typed(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed, durably, when the block ends without an error."""
        if self._is_sqlite:
            with self._turn, typed(), self._writing.begin() as connection:
                yield connection
        else:
            with typed(), self._writing.begin() as connection:
                yield connection

    def finds_nothing(self, query: Select[Any]) -> bool:
        """Whether `query` has no row now: a look, most of which are in vain, must not take SQLite's one write lock."""
        with self.read() as connection:
            return connection.execute(query.limit(1)).first() is None

    def now(self, later_s: Any = 0.0) -> ColumnElement[datetime]:
        """The database's clock, plus `later_s` (seconds, or a bound parameter)."""
        if self._is_sqlite:
            return func.farm_now(later_s, type_=UtcTime)
        # Not now(), which stands still during a transaction that had to wait.
        clock = func.clock_timestamp(type_=UtcTime)
        return clock + func.make_interval(0, 0, 0, 0, 0, 0, later_s, type_=Interval)

    def moment(self, connection: Connection) -> datetime:
        """The database's clock, read once: what is written of several rows need not differ."""
        return connection.execute(self._moment).scalar_one()

    def insert(self, table: Table) -> Any:
        """INSERT that can say ON CONFLICT."""
        return sqlite.insert(table) if self._is_sqlite else postgresql.insert(table)


def open_engine(settings: DatabaseSettings) -> Engine:
    """The engine for the URL; the folder of an SQLite file is made."""
    url = make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() == "sqlite":
        assert url.database is not None, "the settings ask for an absolute path"
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsInvalid(
                f"the job store's folder {folder} cannot be made: {error.strerror}; "
                "FARM_DATA_DIR (`--data`) or FARM_DATABASE_URL says where it is"
            ) from error
        if not os.access(folder, os.W_OK):
            raise SettingsInvalid(
                f"the job store's folder {folder} cannot be written; "
                "FARM_DATA_DIR (`--data`) or FARM_DATABASE_URL says where it is"
            )
        engine = create_engine(url, json_serializer=_dumps, pool_size=POOL_SIZE, pool_timeout=POOL_WAIT_S)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        json_serializer=_dumps,
        pool_size=POOL_SIZE,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=True,  # a connection from before the server's restart is replaced, not used
        connect_args={
            "connect_timeout": CONNECT_S,
            "options": f"-c statement_timeout={STATEMENT_MS}",
            # The server's own time-out helps nobody whose server is cut off: without these a call would hang for hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        },
    )


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.create_function("farm_now", 1, _utc_text)
    connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
    for pragma in (
        f"busy_timeout={SQLITE_BUSY_MS}",
        "journal_mode=WAL",  # readers do not wait for the writer
        "synchronous=FULL",  # a commit survives the power going off
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _utc_text(later_s: float) -> str:
    # SQLite's own clock knows milliseconds only. The database is on this machine, so its clock is ours.
    return utc_text(datetime.now(UTC) + timedelta(seconds=later_s))


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: a transaction that reads first and then writes cannot fail in the middle.
    writes = connection.get_execution_options().get("farm_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _dumps(value: Any) -> str:
    if isinstance(value, Prepared):
        return value.text
    try:
        text = dumped(value)
    except ValueError:  # NaN or infinity
        return dumped(_storable(value))
    return dumped(_storable(value)) if unstorable(text) else text


def _storable(value: Any) -> Any:
    """`value` without what a JSON column cannot hold: file names and tags of media bring all of it."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value


@contextmanager
def typed() -> Iterator[None]:
    """Every database error inside that is not a bug of ours becomes a StoreError."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable("the job store has no connection free") from error
    except DBAPIError as error:
        ours = _typed(error)
        if ours is None:
            raise
        raise ours from error
    except UnicodeEncodeError as error:  # half a character, in a filter or an id
        raise InvalidJob(_MESSAGES[InvalidJob]) from error
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"the job store failed: {type(error).__name__}") from error


def _typed(error: DBAPIError) -> StoreError | None:
    cause = error.orig
    detail = {"cause": str(cause)[:300]}
    kind: type[StoreError] | None
    if isinstance(error, DataError):  # a NUL, say, which SQLite takes and PostgreSQL does not
        kind = InvalidJob
    elif isinstance(error, IntegrityError):
        kind = None
    else:
        kind = _sqlite_kind(cause) if isinstance(cause, sqlite3.Error) else _postgresql_kind(cause)
    if kind is None:
        return None
    return kind(_MESSAGES[kind], detail=detail)


_MESSAGES: dict[type[StoreError], str] = {
    StoreUnavailable: "the job store cannot be reached",
    StoreFull: "the job store has no room left",
    StoreOutdated: "the job store's tables are not of this version: run `farm db upgrade`",
    InvalidJob: "the job holds a value that the job store cannot keep",
}


def _sqlite_kind(cause: sqlite3.Error) -> type[StoreError] | None:
    text = str(cause)
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return StoreOutdated
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull
    # A plain "error" is wrong SQL; locked, unreadable, damaged and all else is a matter of the file.
    return None if code == sqlite3.SQLITE_ERROR else StoreUnavailable


def _postgresql_kind(cause: BaseException | None) -> type[StoreError] | None:
    state = getattr(cause, "sqlstate", None) or "08000"  # no state: the connection was lost or never made
    if state == "53100":
        return StoreFull
    if state in ("42P01", "42703"):
        return StoreOutdated
    # Lost or too many connections, shutting down, cancelled, deadlock, read-only after a failover, refused log-in.
    return StoreUnavailable if state[:2] in ("08", "53", "55", "57", "58", "40", "25", "28", "3D", "XX") else None
