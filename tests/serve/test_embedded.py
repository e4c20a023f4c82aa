"""`farm up` as a user has it: one command, real Ray, HTTP, SQLite and a folder; then everything is gone again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from serve.client import FarmClient
from serve.embedded import free_port
from serve.errors import FarmRefused, FarmUnreachable
from serve.interrupts import ASKING, Interrupts, Stopped
from serve.settings import ClientSettings
from tests.support.media import Sound, clip

ROOT = Path(__file__).parents[2]
START_S = 120.0  # under load; about 10 s on two idle cores


def until(condition: Callable[[], Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


class Up:
    """A running `farm up`."""

    def __init__(self, data: Path, sources: Path) -> None:
        self.port = free_port()
        self.data = data
        self.environment = os.environ | {
            "FARM_SOURCE_PREFIXES": sources.as_uri(),
            "FARM_SCRATCH_DIR": str(data / "scratch"),
        }
        self.process = psutil.Popen(
            [*self.command(), "--data", str(data)],
            cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.client = FarmClient(ClientSettings(url=f"http://127.0.0.1:{self.port}", api_key=SecretStr("")))

    def command(self) -> list[str]:
        return [sys.executable, "-m", "serve", "up", "--port", str(self.port)]

    def answers(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()
        try:
            self.client.policy()
        except (FarmUnreachable, FarmRefused):  # Serve's proxy answers 404 until the API is behind it
            return False
        return True

    def submit(self, media_id: str, source: Path, recipe: str) -> str:
        return str(self.client.complete(media_id, {"source": source.as_uri(), "recipe": recipe})["job_id"])

    def status(self, job_id: str) -> str:
        return str(self.client.job(job_id)["status"])

    def media_processes(self) -> list[psutil.Process]:
        """Those at work; the ones for pictures stand ready all the time."""
        lines = [(child, _command_line(child)) for child in self.process.children(recursive=True)]
        return [child for child, line in lines if "pipelines" in line and "images" not in line]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.fixture
def own_handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in ASKING]
    yield
    for number, handler in zip(ASKING, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_handlers")
def test_a_second_ctrl_c_does_not_cut_short_what_the_first_one_began() -> None:
    interrupts = Interrupts()
    interrupts.listen()
    with pytest.raises(Stopped) as caught:
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)  # would end the test
    assert caught.value.number == signal.SIGTERM
    with pytest.raises(Stopped):  # also one that somebody swallowed
        interrupts.check()


@pytest.mark.usefixtures("own_handlers")
def test_signals_go_back_to_whoever_had_them() -> None:
    def handler(*_: object) -> None: ...

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in ASKING]
    interrupts = Interrupts()
    interrupts.listen()
    interrupts.check()
    assert signal.getsignal(signal.SIGTERM) is not handler
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    interrupts.ignore()
    signal.raise_signal(signal.SIGINT)  # would end the test
    interrupts.give_back()
    assert [signal.getsignal(number) for number in ASKING] == before


@pytest.mark.parametrize("number", ASKING)
def test_what_asks_to_end_is_passed_on_to_the_child_and_its_code_comes_back(number: int) -> None:
    code = (
        "import signal, time; from serve.interrupts import in_own_session\n"
        "def work():\n"
        f"    signal.signal({int(number)}, lambda *_: exit(42)); print('ready', flush=True); time.sleep(30)\n"
        "exit(in_own_session(work))"
    )
    command = [sys.executable, "-c", code]
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    (child,) = process.children()
    os.killpg(process.pid, number)
    process.communicate(timeout=10)
    assert process.returncode == 42
    assert not child.is_running()


def test_a_child_does_not_outlive_whoever_started_it() -> None:
    code = "import time; from serve.interrupts import in_own_session\n"
    code += "exit(in_own_session(lambda: print('ready', flush=True) or time.sleep(30) or 0))"
    process = psutil.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    (child,) = process.children()
    process.kill()
    assert until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    process.communicate(timeout=10)


@pytest.fixture
def up(tmp_path: Path) -> Any:
    running = Up(tmp_path / "data", clip().parent)
    try:
        assert until(running.answers, START_S)
        yield running
    finally:
        running.client.__exit__()
        if running.process.poll() is None:
            running.process.terminate()
            running.process.communicate(timeout=30)


def test_farm_up_takes_uploads_cancels_them_and_leaves_nothing_behind(up: Up) -> None:
    # A clip becomes a published, proven media item.
    source = clip(width=160, height=90, frames=60, audio=(Sound(),))
    job = up.submit("small", source, "preview")
    assert until(lambda: up.status(job) not in ("queued", "processing"), 60)
    media = up.client.media("small", "default")
    assert media["status"] == "ready", media["error"]
    assert all(made["proof"]["ok"] for made in media["report"]["renditions"])
    (mp4,) = [artifact for artifact in media["artifacts"] if artifact["path"].startswith("mp4/")]
    assert (up.data / "media" / mp4["key"]).stat().st_size == mp4["bytes"]

    # A refused one says why.
    broken = source.with_name("broken.mp4")
    broken.write_bytes(source.read_bytes()[:1000])
    job = up.submit("broken", broken, "preview")
    assert until(lambda: up.status(job) == "failed", 60)
    assert up.client.job(job)["error"]["retryable"] is False

    # A running one stops within two seconds of being asked to.
    slow = clip(width=1280, height=720, frames=120, options=(("preset", "ultrafast"),))
    job = up.submit("slow", slow, "av1")
    assert until(lambda: any("chunk" in _command_line(p) for p in up.media_processes()), 60)
    asked = time.monotonic()
    up.client.cancel(job)
    assert until(lambda: not up.media_processes(), 10)
    stopped_s = time.monotonic() - asked
    assert until(lambda: up.status(job) == "cancelled", 10)
    assert stopped_s < 2.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), f"stopped after {stopped_s:.1f} s"

    # A second farm on the same port says that it cannot.
    second = subprocess.run(up.command(), cwd=ROOT, env=up.environment, capture_output=True, text=True, timeout=60)
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert f"port {up.port}" in second.stderr

    # Ended, it takes everything with it that it started.
    started = up.process.children(recursive=True)
    assert any("raylet" in " ".join(_command_line(child)) for child in started)
    os.killpg(up.process.pid, signal.SIGTERM)  # as a service manager, `timeout` and a closed terminal do
    out, err = up.process.communicate(timeout=60)
    assert up.process.returncode == 143
    assert "farm: small: ready in " in out
    assert "farm: broken: failed: " in out
    assert err == "farm: stopped\n"
    assert until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in started), 20), started
