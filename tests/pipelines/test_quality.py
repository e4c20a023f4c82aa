"""VMAF of chunks: the right frames against each other, and figures that mean something."""

import json
import subprocess
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from statistics import mean
from typing import Any

import imageio_ffmpeg
import pytest

from pipelines.errors import ProofFailed
from pipelines.plan import RenditionPlan, VideoPlan
from pipelines.quality import MeasureRendition, MeasureRequest, MeasureResult, measure, summarise, windows
from tests.support.chunks import Planned, encode, encoded_file, lossless, planned, silent
from tests.support.media import clip, remuxed

SIZE: dict[str, Any] = {"width": 160, "height": 96}


def three(video: VideoPlan) -> tuple[RenditionPlan, ...]:
    """Without loss, with much loss, and at half the size."""
    exact = video.renditions[0]
    coarse = replace(exact, name="coarse", options=exact.options | {"qp": "46"})
    half = replace(exact, name="half", width=exact.width // 2, height=exact.height // 2)
    return exact, coarse, half


def measured(video: Planned, tmp_path: Path, number: int = 0, /, mode: str = "full", **changes: Any) -> MeasureResult:
    """The scores of chunk `number`, encoded and measured."""
    chunk = video.video.chunks[number]
    made = encode(video, chunk, tmp_path).renditions
    rows = video.rows[chunk.start_frame : chunk.end_frame]
    request = MeasureRequest(
        source_path=str(video.path),
        video=replace(video.video, chunks=()),
        chunk=chunk,
        sources=tuple(row.source for row in rows),
        pts=tuple(row.pts for row in rows),
        renditions=tuple(MeasureRendition(r.name, str(encoded_file(tmp_path, chunk, r.name))) for r in made),
        mode=mode,
        threads=1,
    )
    return measure(replace(request, **changes), silent)


def scores(result: MeasureResult) -> dict[str, tuple[float, ...]]:
    return {one.name: one.scores for one in result.renditions}


def test_a_lossless_rendition_scores_a_hundred_and_a_coarse_one_far_less(tmp_path: Path) -> None:
    found = measured(planned(clip(**SIZE), chunks=1, renditions=three), tmp_path)
    by_name = scores(found)
    assert found.model == "vmaf_v0.6.1"
    assert {name: len(one) for name, one in by_name.items()} == {"lossless": 59, "coarse": 59, "half": 59}
    assert min(by_name["lossless"]) > 99
    assert mean(by_name["coarse"]) < 80
    assert mean(by_name["half"]) < 98


@pytest.mark.parametrize(
    ("primaries", "transfer", "matrix"),
    [
        (6, 6, 6),
        (1, 1, 1),
        (6, 6, 1),
        (5, 6, 5),
        (1, 13, 1),
    ],
)
@pytest.mark.slow
def test_the_names_of_colours_change_no_score(tmp_path: Path, primaries: int, transfer: int, matrix: int) -> None:
    colors = {"primaries": primaries, "transfer": transfer, "matrix": matrix}
    by_name = scores(measured(planned(clip(**SIZE, frames=20, **colors), chunks=1, renditions=three), tmp_path))
    assert min(by_name["lossless"]) > 99
    plain = scores(measured(planned(clip(**SIZE, frames=20), chunks=1, renditions=three), tmp_path))
    assert mean(by_name["half"]) == pytest.approx(mean(plain["half"]), abs=0.5)


@pytest.mark.slow
def test_the_scores_are_those_that_another_ffmpeg_gives(tmp_path: Path) -> None:
    source = clip(width=320, height=180, primaries=1, transfer=1, matrix=1)
    found = scores(measured(planned(source, chunks=1, renditions=three), tmp_path))
    for name in ("coarse", "half"):
        log = tmp_path / "vmaf.json"
        graph = f"[0:v]scale=320:180:flags=bicubic[a];[a][1:v]libvmaf=log_fmt=json:log_path={log}"
        (made,) = tmp_path.rglob(f"{name}.mp4")
        inputs = ["-i", str(made), "-i", str(source)]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, "-lavfi", graph, "-f", "null", "-"]
        subprocess.run(command, check=True, timeout=60)
        theirs = [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]
        assert found[name] == pytest.approx(theirs[1:], abs=0.1), "the first frame, which has no motion, is left out"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_every_chunk_is_held_against_its_own_frames(tmp_path: Path, number: int) -> None:
    video = planned(clip(**SIZE, frames=75, gop=20, open_gop=True), chunks=4)
    assert min(scores(measured(video, tmp_path, number))["lossless"]) > 99


def test_measuring_leaves_nothing_outside_the_working_folder_whenever_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is no such folder"))
    assert scores(measured(planned(clip(**SIZE, frames=20), chunks=1), tmp_path))["lossless"]
    assert not list(tmp_path.rglob("vmaf-*")), "nor inside it, once it is done"


def test_one_frame_off_is_seen(tmp_path: Path) -> None:
    """What the other tests rely on: the made pictures differ enough from frame to frame."""
    video = planned(clip(**SIZE), chunks=1)
    chunk = video.video.chunks[0]
    later = tuple(row.source for row in (*video.rows[1:], video.rows[-1]))
    assert max(scores(measured(video, tmp_path, sources=later))["lossless"][:-2]) < 96
    assert chunk.start_frame == 0


@pytest.mark.parametrize(
    "name", ["variable rate", "without usable times", "transport stream", "interlaced", "repeated frames"]
)
def test_the_frame_map_decides_what_is_compared(tmp_path: Path, name: str) -> None:
    uneven = tuple(sum(20 + (n * 37) % 60 for n in range(number)) for number in range(60))
    whole = clip(**SIZE)
    video = {
        "variable rate": lambda: planned(
            clip(**SIZE, pts=uneven, time_base=Fraction(1, 1000)), chunks=2, timing="constant"
        ),
        "without usable times": lambda: planned(remuxed(clip(**SIZE, bframes=0), "h264"), chunks=1),
        "transport stream": lambda: planned(remuxed(whole, "ts"), chunks=2),
        "interlaced": lambda: planned(
            clip(**SIZE, codec="mpeg2video", suffix="ts", interlaced="top"), chunks=2, deinterlace=True
        ),
        "repeated frames": lambda: planned(
            clip(**SIZE, pts=tuple(range(0, 180, 3)), fps=30), timing="source", chunks=2
        ),
    }[name]()
    last = len(video.video.chunks) - 1
    # A frame that is shown twice has no motion the second time, which costs even a perfect copy 2.6 points.
    assert min(scores(measured(video, tmp_path, last))["lossless"]) > 97.4


@pytest.mark.slow
def test_sampling_looks_at_the_same_frames_every_time_and_scores_them_as_the_whole_does(tmp_path: Path) -> None:
    video = planned(clip(**SIZE, frames=75), chunks=1, renditions=three)
    full = scores(measured(video, tmp_path))
    first, again = (scores(measured(video, tmp_path, mode="sampled")) for _ in range(2))
    assert first == again
    (window,) = windows(75, 0, full=False)
    for name, found in first.items():
        assert found == pytest.approx(full[name][window.first - 1 : window.end - 1], abs=0.01)


@pytest.mark.parametrize("rows", [1, 2, 12, 16, 17, 18, 48, 300, 2000, 5000])
@pytest.mark.parametrize("number", [0, 1, 2, 77])
@pytest.mark.parametrize("full", [False, True])
def test_windows_lie_inside_the_chunk_and_do_not_overlap(rows: int, number: int, full: bool) -> None:
    found = windows(rows, number, full=full)
    looked_at = [row for window in found for row in range(window.first, window.end)]
    assert len(looked_at) == len(set(looked_at))
    assert min(looked_at) >= min(1, rows - 1)
    assert max(looked_at) < rows
    if full:
        assert len(looked_at) == max(1, rows - 1)
    else:
        assert len(looked_at) >= min(max(1, rows - 1), max(12, 0.03 * rows))
        assert len(looked_at) <= max(16, 0.05 * rows)


def test_chunks_are_looked_at_in_different_places() -> None:
    assert len({windows(300, number, full=False)[0].first for number in range(20)}) == 20


def test_hdr_renditions_are_not_measured_and_the_reason_is_given(tmp_path: Path) -> None:
    video = planned(clip(**SIZE), chunks=1)
    plan = video.video.renditions[0]
    hdr = replace(plan, color=replace(plan.color, primaries="bt2020", transfer="smpte2084"))
    found = measured(video, tmp_path, video=replace(video.video, chunks=(), renditions=(hdr,)))
    assert found.renditions == ()
    assert "HDR" in str(found.why_not)


def test_pictures_too_small_for_vmaf_are_not_measured_and_crash_nothing(tmp_path: Path) -> None:
    found = measured(planned(clip(width=32, height=16), chunks=1), tmp_path)
    assert found.renditions == ()
    assert "32 pixels" in str(found.why_not)
    smallest = planned(clip(width=32, height=32, flat=(90, 100, 110)), chunks=1)
    assert len(scores(measured(smallest, tmp_path))["lossless"]) == 59


def test_a_chunk_of_one_frame_is_measured(tmp_path: Path) -> None:
    found = measured(planned(clip(**SIZE, frames=1), chunks=1), tmp_path)
    assert len(scores(found)["lossless"]) == 1


def test_a_chunk_that_lacks_frames_is_no_proof_of_anything(tmp_path: Path) -> None:
    video = planned(clip(**SIZE), chunks=2)
    encode(video, video.video.chunks[0], tmp_path / "short")
    short = str(encoded_file(tmp_path / "short", video.video.chunks[0]))
    whole = planned(clip(**SIZE), chunks=1)
    with pytest.raises(ProofFailed, match="ends after"):
        measured(whole, tmp_path, renditions=(MeasureRendition("lossless", short),))


def test_ten_bit_renditions_are_compared_in_ten_bit(tmp_path: Path) -> None:
    def ten_bit(video: VideoPlan) -> tuple[RenditionPlan, ...]:
        plan = video.renditions[0]
        return (lossless(plan.width, plan.height, "yuv420p10le", 10, color=plan.color),)

    video = planned(clip(**SIZE), chunks=1, renditions=ten_bit)
    assert min(scores(measured(video, tmp_path))["lossless"]) > 99


def test_the_summary_is_mean_worst_hundredth_and_harmonic_mean() -> None:
    found = summarise([100.0] * 198 + [40.0, 10.0])
    assert found.mean == pytest.approx((19_800 + 50) / 200)
    assert found.one_percent_low == 40.0
    assert found.harmonic_mean == pytest.approx(200 / (198 / 101 + 1 / 41 + 1 / 11) - 1, abs=0.001)
    assert found.frames == 200
    assert summarise([0.0]).harmonic_mean == 0.0


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp, with = signs:'"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    measured(planned(clip(**SIZE), chunks=1), tmp_path)
    assert list(temporary.iterdir()) == []
