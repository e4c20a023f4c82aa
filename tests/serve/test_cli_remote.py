"""The commands that talk to a farm, against a real server."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cluster.jobs import Renewal
from serve.api import create_api, events
from serve.auth import new_key
from serve.cli import run
from serve.cli.exits import ExitCode
from tests.serve.conftest import PROGRESS, ApiFarm, MakeFarm
from tests.support.asgi_server import served
from tests.support.jobs import claim, finish

Out = pytest.CaptureFixture[str]


@pytest.fixture
def running(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiFarm]:
    """A farm that FARM_URL leads to."""
    monkeypatch.setattr(events, "POLL_S", 0.02)
    with served(create_api(farm.deps)) as url:
        monkeypatch.setenv("FARM_URL", url)
        yield farm


def submitted(*more: str, capsys: Out) -> dict[str, Any]:
    assert run(["submit", *more, "--json"]) == ExitCode.DONE
    job: dict[str, Any] = json.loads(capsys.readouterr().out)
    return job


def test_submit_hands_in_what_the_options_say(running: ApiFarm, capsys: Out) -> None:
    source = running.upload("My holiday (1).mp4")
    options = ["--org", "acme", "--recipe", "preview", "--kind", "video", "--priority", "bulk"]
    job = submitted(source, *options, "--metadata", "user=u-17", "--metadata", "b=c=d", capsys=capsys)
    stored = running.store.get(job["job_id"])
    assert (stored.org, stored.recipe_name, stored.kind, stored.priority) == ("acme", "preview", "video", "bulk")
    assert stored.metadata == {"user": "u-17", "b": "c=d"}
    assert stored.media_id == "My-holiday-1", "a name made of the source's own"


def test_submit_takes_a_path_too(running: ApiFarm, capsys: Out) -> None:
    running.upload()
    job = submitted(str(running.uploads / "clip.mp4"), capsys=capsys)
    assert running.store.get(job["job_id"]).source_uri == (running.uploads / "clip.mp4").as_uri()


def test_submit_without_waiting_says_which_job_it_is_and_how_it_stands(running: ApiFarm, capsys: Out) -> None:
    assert run(["submit", running.upload()]) == ExitCode.DONE
    out, err = capsys.readouterr()
    (job,) = claim(running.store, "test", 60.0, 2)
    assert (out, err) == (f"{job.id} queued default/clip\n", "")


def test_a_path_that_does_not_exist_is_said_so_before_the_farm_is_asked(capsys: Out) -> None:
    assert run(["submit", "nofile.mp4"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "error: usage: nofile.mp4 does not exist\n"


def test_a_place_that_is_not_allowed_names_the_setting_that_allows_it(running: ApiFarm, capsys: Out) -> None:
    assert run(["submit", "/etc/passwd"]) == ExitCode.USAGE
    assert "FARM_SOURCE_PREFIXES" in capsys.readouterr().err


def test_a_value_that_cannot_be_is_answered_with_those_that_can(running: ApiFarm, capsys: Out) -> None:
    assert run(["submit", running.upload(), "--priority", "urgent"]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert err.startswith("error: invalid_request: not valid: /priority (")
    assert err.count("\n") == 1
    assert all(allowed in err for allowed in ("interactive", "normal", "bulk"))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost", "ftp://farm", "http://", "http://farm:99999"])
def test_an_address_that_is_none_is_a_setting_to_mend(url: str, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setenv("FARM_URL", url)
    assert run(["status", "x"]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert err.startswith("error: settings_invalid: FARM_URL: ")
    assert err.count("\n") == 1


def test_the_same_idempotency_key_is_the_same_job(running: ApiFarm, capsys: Out) -> None:
    source = running.upload()
    first = submitted(source, "--idempotency-key", "k1", capsys=capsys)
    assert submitted(source, "--idempotency-key", "k1", capsys=capsys)["job_id"] == first["job_id"]


def test_submit_wait_follows_the_job_to_its_end(running: ApiFarm, capsys: Out) -> None:
    def work() -> None:
        while not (held := claim(running.store, "test", 60.0, 1)):
            pass
        running.store.renew_all([Renewal(held[0].id, held[0].fence, PROGRESS)], 60.0)
        report: dict[str, Any] = {"renditions": [], "audio": []}
        finish(running.store, held[0], "ready", revision="rev1", report=report)

    worker = threading.Thread(target=work)
    worker.start()
    assert run(["submit", running.upload(), "--wait"]) == ExitCode.DONE
    worker.join(10)
    out, err = capsys.readouterr()
    assert " ready default/clip" in out
    assert "encoding" in err


@pytest.mark.parametrize(("code", "expected"), [("truncated_media", 2), ("proof_failed", 4), ("store_full", 4)])
def test_a_failed_job_ends_the_command_as_its_error_would_have_here(
    running: ApiFarm, code: str, expected: int, capsys: Out
) -> None:
    job = running.start(running.accept().id)
    error = {"code": code, "message": "so it is", "retryable": False, "detail": {}}
    finish(running.store, job, "failed", error=error)
    assert run(["status", job.id]) == expected
    out, err = capsys.readouterr()
    assert f"{job.id} failed" in out
    assert err == f"error: {code}: so it is\n"


def test_a_job_that_waits_says_why_and_one_that_is_ready_says_where(
    running: ApiFarm, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = running.start(running.accept("clip").id)
    error = {"code": "storage_full", "message": "no room is left", "retryable": True, "detail": {}}
    running.store.release(job.id, job.fence, 0.0, error)
    job = running.start(job.id)
    key = "default/clip/rev1/manifest.json"
    artifact = {"path": "hls/master.m3u8", "sha256": "0" * 64, "bytes": 7, "content_type": "text/plain"}
    running.deps.output.put_bytes(key, json.dumps({"artifacts": [artifact]}).encode())
    report: dict[str, Any] = {"renditions": [], "audio": []}
    finish(running.store, job, "ready", revision="rev1", manifest_key=key, report=report)
    assert run(["status", job.id, "--wait"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert "waiting: storage_full: no room is left" in err
    assert f"{running.storage.storage_uri}/default/clip/rev1/hls/master.m3u8" in out


def test_a_cancelled_job_does_not_let_a_script_go_on(running: ApiFarm, capsys: Out) -> None:
    job = running.accept()
    running.store.request_cancel(job.id)
    assert run(["status", job.id, "--wait"]) == ExitCode.INFRASTRUCTURE
    assert f"{job.id} cancelled" in capsys.readouterr().out


def test_status_says_how_far_a_job_is(running: ApiFarm, capsys: Out) -> None:
    job = running.start(running.accept().id, PROGRESS)
    assert run(["status", job.id]) == ExitCode.DONE
    assert capsys.readouterr().out == f"{job.id} processing default/clip encoding 50 %\n"


def test_cancel_stops_a_job(running: ApiFarm, capsys: Out) -> None:
    job = running.accept()
    assert run(["cancel", job.id]) == ExitCode.DONE
    assert capsys.readouterr().out == f"{job.id} cancelled default/clip\n"
    assert run(["cancel", job.id, "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status", "none"], "job_missing"),
        (["status", "../../healthz"], "not_found"),
        (["cancel", "none"], "job_missing"),
        (["submit", "file:///etc/passwd"], "forbidden_uri"),
        (["submit", "s3://bucket/clip.mp4", "--recipe", "nope"], "unknown_recipe"),
        (["submit", "s3://bucket/clip.mp4", "--metadata", "broken"], "usage"),
        (["submit", "s3://bucket/"], "usage"),
        (["submit", "nofile.mp4"], "usage"),
    ],
)
def test_a_refusal_is_one_line_with_the_farm_s_own_code(
    running: ApiFarm, arguments: list[str], code: str, capsys: Out
) -> None:
    assert run(arguments) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {code}: ")


def test_a_key_is_presented_when_there_is_one(
    make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    key, entry = new_key("ci")
    keyed = make_farm(api_keys=entry)
    with served(create_api(keyed.deps)) as url:
        monkeypatch.setenv("FARM_URL", url)
        assert run(["submit", keyed.upload()]) == ExitCode.USAGE
        assert "not_authenticated" in capsys.readouterr().err
        monkeypatch.setenv("FARM_API_KEY", key)
        assert run(["submit", keyed.upload()]) == ExitCode.DONE
    assert key not in "".join(capsys.readouterr())


def test_no_farm_is_said_to_be_none(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("FARM_URL", f"http://127.0.0.1:{port}")
    assert run(["status", "x"]) == ExitCode.INFRASTRUCTURE
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "farm up" in err


def test_something_else_that_answers_is_not_taken_for_a_farm(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello")

        def log_message(self, format: str, *args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("FARM_URL", f"http://127.0.0.1:{server.server_port}")
        assert run(["status", "x"]) == ExitCode.INFRASTRUCTURE
        server.shutdown()
    assert "is not a farm" in capsys.readouterr().err
