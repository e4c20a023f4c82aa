"""The history of the tables, and bringing a database up to date with it.

A revision is a module under `versions/`, written by hand and named after its number; it is never changed once it is
out. `upgrade` runs what is missing, all of it or nothing.
"""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from cluster.errors import StoreOutdated, StoreUnavailable
from cluster.jobs.database import Database

LOCK = 0x6661726D  # "farm"
LOCK_WAIT_MS = 3000
LOCK_NOT_AVAILABLE = "55P03"  # of PostgreSQL
IN_USE = "the job store's tables are in use, and nothing was changed: run `farm db upgrade` again"


def upgrade(engine: Engine) -> None:
    """Bring the tables to this program's version; several processes may do so at once.

    StoreUnavailable also when a long transaction holds a table: whatever came after it would wait behind this too.
    """
    config = alembic_config()
    try:
        with Database(engine).write() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))  # an index of millions takes its time
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except StoreUnavailable as error:
        if getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise StoreUnavailable(IN_USE, detail=error.detail) from error
        raise


def check_current(connection: Connection) -> None:
    """StoreOutdated unless the tables are of this program's version."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found != head():
        raise StoreOutdated(
            "the job store's tables are not of this version: run `farm db upgrade`",
            detail={"found": found, "wanted": head()},
        )


@cache
def head() -> str | None:
    """The newest revision."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def alembic_config() -> Config:
    """What alembic needs to know; it reads no file."""
    config = Config()
    # Alembic substitutes % in its options.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
