"""The process that turns batches by DALI, on processors or a GPU: whatever it does, each picture is told of once."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

pytest.importorskip("nvidia.dali", reason="DALI is installed on GPU nodes and for development, on Linux only")

from cluster.images.gpu_process import FAILURES, GpuOutcome, GpuProcess
from cluster.media_process import Answer, Cancelled, Watch
from ladders.catalog import load_preset
from pipelines.confine import ProcessLimits
from pipelines.images.gpu_server import NO_GPU
from pipelines.images.limits import ImageLimits
from pipelines.images.request import GpuSetup, ImageRequest, NotDone
from tests.support.gpu import DEVICES, HAS_DRIVER, Place
from tests.support.image_speed import lying, misbehave, photo, save_record, save_slow_record, truncated, with_alpha

AVATAR = load_preset("avatar").model_dump(mode="json")["image"]
Start = Callable[..., GpuProcess]


@pytest.fixture(params=DEVICES)
def place(request: pytest.FixtureRequest) -> Place:
    """Where DALI works."""
    found: Place = request.param
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Makes the supervisor of a process that has the record `speed.json`."""
    with ThreadPoolExecutor(1) as starter:
        made = []

        def make(device_id: int | None = None, wall_s: float = 20.0) -> GpuProcess:
            limits = ProcessLimits(wall_s, wall_s, 1_000_000_000, 60, 100_000_000)
            made.append(GpuProcess(GpuSetup(str(tmp_path / "speed.json"), device_id, 2, limits, os.getpid()), starter))
            return made[-1]

        yield make
        for process in made:
            process.close()


def turn(
    process: GpuProcess, paths: Sequence[Path], watches: Sequence[Watch] | None = None, go: Path | None = None
) -> list[tuple[GpuOutcome, float]]:
    """What each picture's outcome was, and after how many seconds it was told; `go` is made when one is cancelled."""
    outcomes: dict[int, tuple[GpuOutcome, float]] = {}
    began = time.monotonic()

    def tell(number: int, outcome: GpuOutcome) -> None:
        assert number not in outcomes, "told twice"
        outcomes[number] = outcome, time.monotonic() - began
        if go is not None and isinstance(outcome, Cancelled):
            go.touch()

    requests = [ImageRequest(str(path), f"{path}-{time.monotonic_ns()}", AVATAR, ImageLimits()) for path in paths]
    process.turn(requests, watches or [Watch() for _ in paths], tell)
    return [outcomes[number] for number in range(len(paths))]


def kinds(outcomes: list[tuple[GpuOutcome, float]]) -> list[type]:
    return [type(outcome) for outcome, _ in outcomes]


def below() -> list[psutil.Process]:
    """The GPU processes below this one."""
    return [one for one in psutil.Process().children(recursive=True) if one.cmdline()[-1:] == ["images-gpu"]]


def test_a_batch_of_all_kinds_and_the_same_process_for_the_next_one(
    start: Start, place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    save_record(tmp_path / "speed.json", device=place.device)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    paths = [photo(tmp_path / "a.jpg"), with_alpha(tmp_path / "alpha.png"), truncated(tmp_path / "cut.jpg")]
    paths += [lying(tmp_path / "lies.jpg"), text, photo(tmp_path / "b.jpg")]
    process = start(place.device_id)

    outcomes = turn(process, paths)

    assert kinds(outcomes) == [Answer, NotDone, NotDone, NotDone, NotDone, Answer]
    assert str(outcomes[1][0]) == "not a JPEG"
    answers = [outcome for outcome, _ in outcomes if isinstance(outcome, Answer)]
    assert [answer.result.engine for answer in answers] == ["dali", "dali"]
    assert all(0 < answer.usage.cpu_s < 20 and answer.usage.peak_rss_bytes > 10_000_000 for answer in answers)
    assert "by DALI" in caplog.text
    (prepared,) = below()
    assert kinds(turn(process, paths[:1])) == [Answer]
    assert below() == [prepared]


@pytest.mark.parametrize("why", ["other device", "slow", "no record", "no gpu"])
def test_where_dali_does_not_pay_there_is_no_process_and_the_log_has_the_reason(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    if why == "other device":
        save_record(tmp_path / "speed.json", device="NVIDIA L4")
    elif why == "slow":
        save_slow_record(tmp_path / "speed.json")
    elif why == "no gpu" and HAS_DRIVER:
        pytest.skip("this machine has an NVIDIA driver")
    process = start(device_id=0 if why == "no gpu" else None)

    assert not process.start()

    expected = {
        "other device": f"other device: NVIDIA L4, here {NO_GPU}",
        "slow": "DALI does not pay here",
        "no record": "nothing was measured yet",
        "no gpu": "no NVIDIA driver",
    }[why]
    assert "the processors turn all pictures from now on" in caplog.text
    assert expected in caplog.text
    assert below() == []
    assert kinds(turn(process, [photo(tmp_path / "a.jpg")])) == [NotDone]


def test_a_process_that_fails_leaves_its_batch_and_the_next_one_gets_another_until_it_is_too_often(
    start: Start, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_record(tmp_path / "speed.json", device=place.device)
    misbehave(tmp_path, monkeypatch)
    process = start(place.device_id, wall_s=3.0)
    good = photo(tmp_path / "good.jpg")
    reasons = {"crash": "SIGSEGV", "forge": "picture 99", "hungry": "MB of memory", "hang": "no answer in time"}
    assert len(reasons) + 1 == FAILURES

    for name, reason in reasons.items():
        outcomes = turn(process, [good, photo(tmp_path / f"{name}.jpg")])
        assert kinds(outcomes)[1] is NotDone
        assert reason in str(outcomes[1][0])
        assert reason in caplog.text
        assert below() == []
    assert kinds(turn(process, [good])) == [Answer]
    (idle,) = below()
    idle.kill()
    while idle.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)

    assert kinds(turn(process, [good])) == [NotDone]
    assert process.given_up
    assert below() == []
    assert "SIGKILL" in caplog.text


def test_a_cancelled_picture_is_told_of_at_once_and_costs_the_others_nothing(
    start: Start, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_record(tmp_path / "speed.json", device=place.device)
    misbehave(tmp_path, monkeypatch)
    process = start(place.device_id)
    assert process.start()
    (prepared,) = below()
    watch = Watch()
    threading.Timer(0.5, watch.cancelled.set).start()
    slow, other = photo(tmp_path / "slow.jpg"), photo(tmp_path / "a.jpg")

    outcomes = turn(process, [slow, other, slow], [watch, Watch(), Watch()], go=tmp_path / "go")

    assert kinds(outcomes) == [Cancelled, Answer, Answer]
    assert outcomes[0][1] < 2.5
    assert below() == [prepared]


def test_a_process_that_works_for_nobody_is_ended_and_that_is_no_failure(
    start: Start, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_record(tmp_path / "speed.json", device=place.device)
    misbehave(tmp_path, monkeypatch)
    process = start(place.device_id)
    assert process.start()
    watch = Watch()
    threading.Timer(0.3, watch.cancelled.set).start()
    began = time.monotonic()

    assert kinds(turn(process, [photo(tmp_path / "hang.jpg")], [watch])) == [Cancelled]

    assert time.monotonic() - began < 5.0
    assert below() == []
    assert "failed" not in caplog.text
