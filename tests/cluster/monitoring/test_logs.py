"""Log lines of a process that has secrets and is careless with them."""

import base64
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.errors import SettingsInvalid
from cluster.farm_settings import FarmSettings
from cluster.monitoring.logs import about, about_step, formatter
from cluster.monitoring.redact import Redactor
from cluster.settings import LogSettings
from tests.support.jobs import work_of

ROOT = Path(__file__).parents[3]
SIGNATURE = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"
SIGNED = f"https://bucket.s3.amazonaws.com/in/a.mp4?X-Amz-Expires=900&X-Amz-Signature={SIGNATURE}"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"c" * 32).decode()
API_KEY = "mf_" + "web_" + "k" * 43
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# What a line may hold, and what of it may not be written.
CANARIES = {
    f"Authorization: Bearer {API_KEY}": API_KEY,
    f"the key {API_KEY} is not known": API_KEY,
    "S3 said no to wJalr/XUtn'FEMI+K7MDENG": "wJalr/XUtn'FEMI+K7MDENG",
    "connecting to postgresql://farm:pg-c%40nary-1@db.example.com/farm": "pg-c%40nary-1",
    "connection failed: password=pg-c@nary-1 host=db": "pg-c@nary-1",
    f"GET {SIGNED} gave 403": SIGNATURE,
    f"GET /in/a.mp4?X-Amz-Date=1&X-Amz-Signature={SIGNATURE}": SIGNATURE,
    "open https://someone:url-canary-2@example.com/x": "url-canary-2",
    f"signing with {WEBHOOK_SECRET}": WEBHOOK_SECRET,
    '{"aws_secret_access_key": "json-canary-3"}': "json-canary-3",
    "callback https://media.example.com/hook?token=query-canary-4": "query-canary-4",
    "POST /hook?key=path-canary-6 gave 500": "path-canary-6",
    "hook?key=name-canary-7": "name-canary-7",
    "callback https://media.example.com/hook?of=O'Neill&key=quote-canary-8": "quote-canary-8",
    'callback "https://media.example.com/hook?of="me",&key=quote-canary-9"': "quote-canary-9",
    "callback https://media.example.com/hook?of=<me>#key=part-canary-10": "part-canary-10",
    "Basic dXNlcjpiYXNpYy1jYW5hcnk=": "dXNlcjpiYXNpYy1jYW5hcnk=",
    "AKIAIOSFODNN7CANARY5": "AKIAIOSFODNN7CANARY5",
}
CARELESS = f"""
import logging
from cluster.farm_settings import FarmSettings
from cluster.monitoring.logs import log_as_set_up
from cluster.settings import load
from serve.settings import ServeSettings

log_as_set_up(FarmSettings.load(), load(ServeSettings))
log_as_set_up(FarmSettings.load(), load(ServeSettings))
log = logging.getLogger("cluster.careless")
for text in {list(CANARIES)!r}:
    log.warning("here it is: %s", text)
    log.warning(text, extra={{"code": text}})
    try:
        raise RuntimeError(text)
    except RuntimeError:
        log.exception("it failed")
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_is_written_however_it_gets_into_a_line(log_format: str, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "FARM_DATA_DIR": str(tmp_path),
        "FARM_LOG_FORMAT": log_format,
        "FARM_EMBEDDED": "1",
        "FARM_DATABASE_URL": "postgresql://farm:pg-c%40nary-1@db.example.com/farm",
        "FARM_S3_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "FARM_S3_SECRET_ACCESS_KEY": "wJalr/XUtn'FEMI+K7MDENG",
        "FARM_CALLBACK_HOSTS": "media.example.com",
        "FARM_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    }
    done = subprocess.run(
        [sys.executable, "-c", CARELESS], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len([line for line in lines if "here it is" in line]) == len(CANARIES), "and each line is written once"
    assert {canary for canary in CANARIES.values() if canary in done.stderr} == set()
    assert "bucket.s3.amazonaws.com/in/a.mp4" in done.stderr, "where it went wrong is still said"
    assert "@db.example.com/farm" in done.stderr
    if log_format == "json":
        parsed = [json.loads(line) for line in lines]
        assert sum("exception" in line for line in parsed) == len(CANARIES)


def record(text: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("cluster.x", level, __file__, 1, text, args, None)


def test_a_json_line_says_when_who_and_what_it_is_about() -> None:
    lines = formatter(LogSettings(), Redactor())
    with about_step(work_of(attempt=2, fence=7, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01"), "chunk 3"):
        line = json.loads(lines.format(record("took %d s", 4, level=logging.WARNING)))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "logger": "cluster.x", "message": "took 4 s", "job_id": "j1", "org": "acme",
        "step": "chunk 3", "attempt": 2, "fence": 7, "trace_id": TRACE,
    }  # fmt: skip
    assert "job_id" not in json.loads(lines.format(record("later")))


@pytest.mark.parametrize(("name", "value"), [("FARM_LOG_FORMAT", "xml"), ("FARM_LOG_LEVEL", "loud")])
def test_a_wrong_setting_is_named_before_anything_starts(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=name):
        FarmSettings.load()


def test_a_text_line_is_for_people_and_one_line() -> None:
    with about(job_id="j1", org=None):
        line = formatter(LogSettings(log_format="text"), Redactor()).format(record("took %d s", 4))
    assert line.endswith("INFO cluster.x: took 4 s [job_id=j1]")


@pytest.mark.parametrize(
    "text",
    ["chunk 3 tried again: worker_lost: nothing was heard from its worker for 60 s", "s3://uploads/acme/clip-1.mov",
     "the token bucket is full", "is it there? or not?", "really?! a/b", "file:///a/b? no", "50 % of 1/2"],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor(["secret-value"])(text) == text


def test_of_a_query_string_the_address_stays() -> None:
    redact = Redactor()
    assert redact("GET 'https://h/a.mp4?b=c' gave 403") == "GET 'https://h/a.mp4?*** gave 403"
    assert redact("file:///a/b?.mp4") == "file:///a/b?***"


def test_long_texts_are_looked_through_in_no_time() -> None:
    redact = Redactor()
    began = time.process_time()
    for text in ("/" * 200_000, "a?" * 100_000, "/?" * 100_000, "x-amz-" * 10_000 + ":", "a_" * 10_000 + "="):
        redact(text)
    assert time.process_time() - began < 2.0
