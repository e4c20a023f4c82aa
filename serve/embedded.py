"""The whole farm in one process tree on this machine: local Ray, dispatcher, API, SQLite, a folder."""

import logging
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from cluster.errors import InfraError
from cluster.farm_settings import FarmSettings, prepare_ray_environment
from cluster.jobs import open_store
from cluster.scratch import sweep_dead, workdir
from cluster.settings import load
from serve.errors import ApiError, FarmUnreachable, UsageError
from serve.interrupts import Interrupts, Stopped
from serve.job_news import JobNews
from serve.settings import ServeSettings, prepare_embedded_environment

START_S = 60.0
RAY_LOGS = "/tmp/ray/session_latest/logs"  # noqa: S108 - where Ray puts them

log = logging.getLogger(__name__)


class EmbeddedFarm:
    """Started on entry, ended with everything it started on exit."""

    def __init__(self, *, port: int, data_dir: Path | None = None, isolated: bool = False) -> None:
        """`data_dir` None is FARM_DATA_DIR; `isolated` ignores whatever else FARM_… says."""
        prepare_embedded_environment(port, data_dir, isolated)
        self.settings = load(ServeSettings)
        self._farm = FarmSettings.load()
        self._interrupts = Interrupts()
        self.url = f"http://{self.settings.host}:{self.settings.port}"
        self.storage_uri = self._farm.storage.storage_uri
        self.source_prefixes = self._farm.storage.source_prefixes

    def __enter__(self) -> Self:
        _must_be_free(self.settings.host, self.settings.port)
        with workdir(self._farm.work.scratch_dir):
            pass  # it can be made
        store = open_store(self._farm.database)
        store.upgrade()
        store.close()
        # Imported late: Ray takes a second, the checks above should answer at once, and it reads its environment once.
        prepare_ray_environment()
        from cluster.runtime import start_embedded
        from serve.app import start_api

        self._interrupts.listen()
        try:
            start_embedded(self._farm)
            self._interrupts.check()
            start_api(self.settings)
            self._interrupts.check()
            self._wait_until_it_answers()
        except BaseException as error:
            self._stop()
            if isinstance(error, SystemExit):  # what Ray's own handler of SIGTERM raises until check() replaces it
                raise Stopped(signal.SIGTERM) from None
            if not isinstance(error, Exception) or isinstance(error, ApiError | InfraError):
                raise
            # Ray and Serve raise whatever they like when they cannot start.
            log.debug("the farm did not start", exc_info=True)
            raise FarmUnreachable(f"the farm did not start: {error}; Ray's logs are in {RAY_LOGS}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def serve_forever(self, tell: Callable[[str], None]) -> None:
        """Until Ctrl-C, SIGTERM or SIGHUP, which leave it as serve.interrupts.Stopped; a line for what jobs do."""
        news = JobNews(open_store(self._farm.database))
        while True:
            self._interrupts.check()
            try:
                for line in news.lines():
                    tell(line)
            except InfraError as error:  # the terminal hears again when the store is back
                log.debug("no news of jobs: %s", error.public_message)
            time.sleep(1.0)  # a signal ends it early

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self._interrupts.check()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass  # not listening yet
            time.sleep(0.1)
        raise FarmUnreachable(f"the farm did not answer at {self.url} within {START_S:.0f} s of its start")

    def _stop(self) -> None:
        import ray

        from cluster.runtime import stop_embedded

        self._interrupts.ignore()
        # Serve ends with the Ray that it runs on; asked to shut down first, it only takes longer.
        if ray.is_initialized():
            stop_embedded()
            sweep_dead(self._farm.work.scratch_dir)  # of the steps that were ended with it
        self._interrupts.give_back()


def _must_be_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        # As a server binds: a port in TIME_WAIT from the last run is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(f"port {port} of {host} is taken ({error.strerror}); choose another with --port") from None


def free_port() -> int:
    """A port that is free on loopback now, and that nobody is given who does not ask for that very one.

    Ray starts a dozen listeners on whatever port the system hands out: of those (from 32768 on, unless the machine's
    `ip_local_port_range` was set to begin lower) one was taken between being found free and being bound. From 10002 to
    19999 are Ray's workers.
    """
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise UsageError("no port between 20000 and 29999 is free on 127.0.0.1")
