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

from cluster.errors import StoreOutdated
from cluster.jobs.database import Database

LOCK = 0x6661726D  # "farm"


def upgrade(engine: Engine) -> None:
    """Bring the tables to this program's version; several processes may do so at once."""
    config = alembic_config()
    with Database(engine).write() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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
