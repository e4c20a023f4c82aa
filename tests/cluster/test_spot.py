"""A spot node hears of its end from a metadata service that speaks as EC2's version 2 does."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cluster import spot
from cluster.errors import ClusterUnreachable
from cluster.spot import REBALANCE, TERMINATION, SpotNotices, watch
from tests.support.ports import free_ports


class Metadata(ThreadingHTTPServer):
    """The service of one instance; answers nothing without a token that it gave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.notices: dict[str, Any] = {}
        self.tokens: list[str] = []
        self.looks = 0


class _Handler(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        assert self.path == "/latest/api/token"
        assert 1 <= int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21_600
        self.server.tokens.append(f"token-{len(self.server.tokens)}")
        self._answer(200, self.server.tokens[-1])

    def do_GET(self) -> None:
        self.server.looks += 1
        if self.headers["X-aws-ec2-metadata-token"] not in self.server.tokens:
            self._answer(401, "")
        elif self.path in self.server.notices:
            self._answer(200, json.dumps(self.server.notices[self.path]))
        else:
            self._answer(404, "")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    monkeypatch.setattr(spot, "LOOK_S", 0.01)
    server = Metadata()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def in_two_minutes() -> dict[str, str]:
    return {"action": "terminate", "time": f"{datetime.now(UTC) + timedelta(seconds=120):%Y-%m-%dT%H:%M:%SZ}"}


class Drains(list[tuple[str, float | None]]):
    """Why, and in how many seconds the node is gone, of every time that it was drained."""

    def __call__(self, reason: str, deadline_s: float | None) -> None:
        self.append((reason, deadline_s))


def test_a_notice_drains_the_node_with_the_time_that_it_leaves_and_ends_the_watch(metadata: Metadata) -> None:
    drains = Drains()
    watching = threading.Thread(target=watch, args=(SpotNotices(metadata.address), drains))
    watching.start()
    while metadata.looks < 10:  # nothing is announced yet
        assert watching.is_alive()
        time.sleep(0.01)
    assert drains == []
    metadata.notices[TERMINATION] = in_two_minutes()
    watching.join(timeout=30)
    assert not watching.is_alive()
    ((reason, deadline_s),) = drains
    assert "EC2" in reason
    assert deadline_s is not None
    assert 85 < deadline_s <= 120
    assert metadata.tokens == ["token-0"]


def test_a_recommendation_drains_once_and_the_notice_after_it_says_when(metadata: Metadata) -> None:
    drains = Drains()
    metadata.notices[REBALANCE] = {"noticeTime": "2026-11-26T20:00:00Z"}
    watching = threading.Thread(target=watch, args=(SpotNotices(metadata.address), drains))
    watching.start()
    while metadata.looks < 20:
        assert watching.is_alive()
        time.sleep(0.01)
    metadata.notices[TERMINATION] = in_two_minutes()
    watching.join(timeout=30)
    assert [deadline is None for _, deadline in drains] == [True, False]


def test_a_token_that_ran_out_is_replaced(metadata: Metadata) -> None:
    notices = SpotNotices(metadata.address)
    assert notices.termination() is None
    metadata.tokens[0] = "of yesterday"
    metadata.notices[TERMINATION] = in_two_minutes()
    assert notices.termination() is not None
    assert len(metadata.tokens) == 2


def test_a_cluster_that_does_not_answer_is_asked_again_until_it_drains(metadata: Metadata) -> None:
    metadata.notices[TERMINATION] = in_two_minutes()
    tried = []

    def drain(_reason: str, deadline_s: float | None) -> None:
        tried.append(deadline_s)
        if len(tried) < 3:
            raise ClusterUnreachable("starting again")

    watch(SpotNotices(metadata.address), drain)
    assert len(tried) == 3


def test_a_service_that_is_not_there_is_told_of_once_and_looked_for_again(
    metadata: Metadata, caplog: pytest.LogCaptureFixture
) -> None:
    (nobody,) = free_ports(1)
    notices, drains = SpotNotices(f"http://127.0.0.1:{nobody}"), Drains()
    looks: list[None] = []

    def termination() -> datetime | None:
        looks.append(None)
        return SpotNotices(metadata.address if len(looks) > 3 else f"http://127.0.0.1:{nobody}").termination()

    notices.termination = termination  # type: ignore[method-assign]
    metadata.notices[TERMINATION] = in_two_minutes()
    with caplog.at_level(logging.WARNING):
        watch(notices, drains)
    assert len(drains) == 1
    assert len([line for line in caplog.messages if "does not answer" in line]) == 1
