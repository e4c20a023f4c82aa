"""What a media process can do to whoever started it: answer, or end in a typed error."""

import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest

from cluster.media_process import Cancelled, Watch, run_media, variables
from pipelines.audio import AudioRequest, AudioResult
from pipelines.confine import ProcessLimits
from pipelines.errors import DecoderCrashed, LimitExceeded, MediaProcessFailed, MediaTimeout, NotMedia
from pipelines.inspect import Inspected, InspectRequest
from pipelines.limits import Limits
from pipelines.plan import AudioTrackPlan
from tests.support.media import Sound, clip

LIMITS = ProcessLimits(wall_s=20.0, stall_s=20.0, memory_bytes=8_000_000_000, cpu_s=60, file_bytes=1_000_000_000)


def limits(**changes: Any) -> ProcessLimits:
    values = {name: getattr(LIMITS, name) for name in LIMITS.__slots__}
    return ProcessLimits(**(values | changes))


def request(path: Path) -> InspectRequest:
    return InspectRequest(str(path), Limits())


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that is never done opening: a pipe nobody writes to."""
    path = tmp_path / "endless.mp4"
    os.mkfifo(path)
    return path


def children() -> list[psutil.Process]:
    """The media processes below this one; servers that other tests keep running are no matter here."""
    return [p for p in psutil.Process().children(recursive=True) if "pipelines" in p.cmdline()]


def child_that(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have media processes run `code`, in which `main` is the real program, instead of it."""
    script = folder / "child.py"
    start = "import sys\nfrom pipelines.__main__ import main\nsys.argv = sys.argv[3:]  # without -s -m\n"
    script.write_text(f"#!{sys.executable}\n{start}{dedent(code)}")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def while_it_runs(act: Any) -> threading.Thread:
    """Call `act` with the media process as soon as there is one."""
    before = {process.pid for process in children()}

    def watch() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for process in children():
                if process.pid not in before:
                    time.sleep(0.5)  # past its start-up, into the open
                    act(process)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_result_comes_back_typed_with_what_it_cost() -> None:
    answer = run_media("inspect", request(clip(frames=10)), Inspected, LIMITS, Watch())
    assert answer.result.info.video is not None
    assert answer.result.index is not None
    assert len(answer.result.index.pts) == 10
    assert 0 < answer.usage.cpu_s < 10
    assert 10_000_000 < answer.usage.peak_rss_bytes < 1_000_000_000


def test_a_refusal_keeps_its_type_across_the_border(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no media at all\n" * 20)
    with pytest.raises(NotMedia):
        run_media("inspect", request(path), Inspected, LIMITS, Watch())


def test_one_that_hangs_is_ended_by_the_clock(endless: Path) -> None:
    started = time.monotonic()
    with pytest.raises(MediaTimeout, match="2 s"):
        run_media("inspect", request(endless), Inspected, limits(wall_s=2.0), Watch())
    assert time.monotonic() - started < 5.0
    assert children() == []


def test_one_that_makes_no_progress_is_ended_before_its_time(endless: Path) -> None:
    with pytest.raises(MediaTimeout, match="no progress"):
        run_media("inspect", request(endless), Inspected, limits(stall_s=1.0), Watch())


def test_one_that_decodes_for_long_is_kept_alive_by_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_decoder = """
        import time
        import pipelines.decode as decode
        fast = decode.demux_source
        def slow(*streams):
            for packet in fast(*streams):
                time.sleep(0.1)
                yield packet
        decode.demux_source = slow
        main()
    """
    child_that(slow_decoder, tmp_path, monkeypatch)
    path = clip(frames=30, suffix="h264")  # without times: all of it is decoded to be counted
    answer = run_media("inspect", request(path), Inspected, limits(wall_s=60.0, stall_s=2.0), Watch())
    assert answer.usage.wall_s > 5.0
    assert answer.result.index is not None
    assert len(answer.result.index.pts) == 30


def test_a_crash_in_native_code_is_an_error_of_the_media(endless: Path) -> None:
    thread = while_it_runs(lambda process: process.send_signal(signal.SIGSEGV))
    with pytest.raises(DecoderCrashed, match="SIGSEGV"):
        run_media("inspect", request(endless), Inspected, LIMITS, Watch())
    thread.join()


def test_one_that_computes_for_too_long_is_told_from_one_that_somebody_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = """
        import pipelines.inspect as inspect
        def spin(request: inspect.InspectRequest, report):
            while True:
                pass
        inspect.inspect = spin
        main()
    """
    child_that(busy, tmp_path, monkeypatch)
    with pytest.raises(MediaTimeout, match="1 s of computing time"):
        run_media("inspect", request(tmp_path), Inspected, limits(cpu_s=1), Watch())


def test_an_output_that_grows_too_large_is_an_error_of_the_media_and_not_of_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limit holds for what Python caches of its modules, too.
    no_cache = variables() | {"PYTHONDONTWRITEBYTECODE": "1"}
    monkeypatch.setattr("cluster.media_process.variables", lambda: no_cache)
    track = AudioTrackPlan("eng", 1, "eng", None, True, 128_000, 2, 48_000)
    source = clip(frames=90, audio=(Sound(),))
    asked = AudioRequest(str(source), (track,), Fraction(0), 3.0, has_video=True, out_dir=str(tmp_path))
    with pytest.raises(LimitExceeded, match="grew beyond"):
        run_media("audio", asked, AudioResult, limits(file_bytes=2_000), Watch())
    assert run_media("audio", asked, AudioResult, LIMITS, Watch()).result.tracks[0].bytes > 2_000


def test_a_fault_of_our_own_is_not_blamed_on_the_media() -> None:
    with pytest.raises(MediaProcessFailed) as failed:
        run_media("no such command", request(clip(frames=10)), Inspected, LIMITS, Watch())
    assert failed.value.retryable
    assert "KeyError" in failed.value.detail["native"]


@pytest.mark.parametrize(
    "line",
    [
        "no JSON at all",
        "",
        "\\xff\\xfe",
        "[" * 100_000,
        "[]",
        "7",
        '"progress"',
        "{}",
        '{"result": {}, "error": {}}',
        '{"something": {}}',
        '{"progress": 7}',
        '{"progress": {"renditions": ["low"]}}',
        '{"progress": {"renditions": {"low": "many"}}}',
        '{"progress": {"renditions": {"low": -1}}}',
        '{"progress": {"renditions": {"low": NaN}}}',
        '{"progress": {"renditions": {"low": true}}}',
        '{"error": "crashed"}',
        '{"error": {"code": ["not_media"], "message": "x"}}',
        '{"error": {"code": "not_media"}}',
        '{"error": {"code": "not_media", "message": "x", "detail": 7}}',
        '{"result": null}',
        '{"result": {}}',
        '{"result": {"info": 7, "index": null}}',
        '{"result": {"info": {"container": 7}, "index": null}}',
        '{"result": {"info": null, "index": {"time_base": "1/0"}}}',
    ],
)
def test_one_that_says_what_makes_no_sense_fails_and_brings_nobody_else_down(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = line.encode().decode("unicode_escape").encode("latin-1")
    child_that(f"import os\nos.write(1, {said!r} + b'\\n')\n", tmp_path, monkeypatch)
    with pytest.raises(MediaProcessFailed, match="did not answer as it should"):
        run_media("inspect", request(tmp_path), Inspected, LIMITS, Watch())


def test_cancelling_ends_it_at_once(endless: Path) -> None:
    watch = Watch()
    thread = while_it_runs(lambda _: watch.cancelled.set())
    with pytest.raises(Cancelled):
        run_media("inspect", request(endless), Inspected, LIMITS, watch)
    thread.join()
    assert children() == []


def test_no_secret_of_the_farm_is_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "FARM_API_KEYS", "FARM_DATABASE_URL", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in variables().values()
    assert not [name for name in variables() if name.startswith(("AWS_", "FARM_", "RAY_"))]


def test_it_dies_with_whoever_started_it(endless: Path, tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(
        "import sys\n"
        "from cluster.media_process import Watch, run_media\n"
        "from pipelines.confine import ProcessLimits\n"
        "from pipelines.inspect import Inspected, InspectRequest\n"
        "from pipelines.limits import Limits\n"
        "limits = ProcessLimits(60.0, 60.0, 8_000_000_000, 60, 1)\n"
        "run_media('inspect', InspectRequest(sys.argv[1], Limits()), Inspected, limits, Watch())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    starter = subprocess.Popen([sys.executable, str(script), str(endless)], env=environment)
    media: list[psutil.Process] = []
    deadline = time.monotonic() + 20
    while not media and time.monotonic() < deadline:
        media = psutil.Process(starter.pid).children()
        time.sleep(0.05)
    time.sleep(0.5)  # it arms its death signal first of all
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    gone, alive = psutil.wait_procs(media, timeout=5)
    assert gone or all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
