"""What holds for every test: Ray keeps to itself, and nothing of the developer's environment leaks in."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres, running_postgres
from tests.support.seaweed import Seaweed, running_seaweed

# Before anything imports Ray. Its own token file in the home folder would lock out other clusters of the same user.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0" * 64,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}

# Whoever starts the tests in the background may ignore these for them, and the programs under test would inherit that.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("FARM_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module", autouse=True)
def _no_later_test_looks_through_what_is_kept_for_good() -> Iterator[None]:
    # A collection took 0.4 s behind the tests of S3, whose clients stay; measuring a chunk collects four times.
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One S3 server for all tests; each makes its own bucket or prefix."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests; each makes its own database."""
    with running_postgres() as server:
        yield server
