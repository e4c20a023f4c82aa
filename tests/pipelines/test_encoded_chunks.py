"""What the encoders make by a plan's options: chunks that can be joined, colours that are said, no broken memory."""

import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.sidedata.sidedata import Type

from ladders.catalog import load_preset
from ladders.model import H264, Av1, Hevc, SourceShape
from ladders.select import select_rungs
from pipelines.encoders import MIN_SIDE_PX, check_options, rendition_plan
from pipelines.errors import UnsupportedMedia
from pipelines.plan import ColorTags, RenditionPlan
from pipelines.proof import decode_times, keys_on_grid, parameter_sets, vbv_replay
from tests.support.encoding import CODECS, HDR10, MASTERING, RATE, SDR, decoded, encoded, plan_of, scenes, with_params

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
CPU = Path("/proc/cpuinfo").read_text().split()
MALLOC_DEBUG = next(map(str, Path("/lib").glob("*-linux-gnu/libc_malloc_debug.so.0")), "")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


@pytest.mark.parametrize("name", ["standard", "hevc", "av1", "preview"])
@pytest.mark.parametrize("source", [(642, 642), (161, 121), (1080, 1440), (1920, 804), (100, 60)])
def test_chunks_of_different_pictures_have_one_set_of_parameters(name: str, source: tuple[int, int]) -> None:
    video = load_preset(name).video
    assert video is not None
    shape = SourceShape(width=source[0], height=source[1])
    rung = select_rungs(video, shape)[0].model_copy(update={"max_bitrate_bps": 300_000})
    plan = rendition_plan(rung, video.codec, frame_rate=RATE, gop_frames=60, color=SDR)

    calm = encoded(plan, scenes(rung.width, rung.height, 10, cut_every=10))
    wild = encoded(plan, scenes(rung.width, rung.height, 9, cut_every=1, seed=1))

    assert parameter_sets(plan.codec, calm.extradata) == parameter_sets(plan.codec, wild.extradata)
    assert calm.extradata == wild.extradata


def test_without_stitchable_the_parameters_follow_the_quality() -> None:
    """What `stitchable` is for: x264 otherwise writes the first frame's quantiser into the PPS."""
    pictures = scenes(160, 90, 3)
    fine, coarse = (plan_of(H264(), crf=crf) for crf in (18, 40))
    loose = [with_params(plan, "stitchable=0") for plan in (fine, coarse)]

    assert encoded(fine, pictures).extradata == encoded(coarse, pictures).extradata
    assert encoded(loose[0], pictures).extradata != encoded(loose[1], pictures).extradata


@each_codec
@pytest.mark.parametrize("gop", [1, 2, 3, 12])
def test_key_frames_stand_on_the_grid_whatever_the_pictures_are(codec: H264 | Hevc | Av1, gop: int) -> None:
    coded = encoded(plan_of(codec, gop=gop), scenes(160, 90, 30))

    assert keys_on_grid(coded.keys, range(30), gop)


def test_the_pictures_of_these_tests_do_tempt_an_encoder_off_the_grid() -> None:
    tempted = with_params(plan_of(H264(), gop=12), "scenecut=40:min-keyint=1")

    assert not keys_on_grid(encoded(tempted, scenes(160, 90, 30)).keys, range(30), 12)


@each_codec
def test_nothing_after_a_key_frame_refers_past_it(codec: H264 | Hevc | Av1) -> None:
    plan = plan_of(codec)
    coded = encoded(plan, scenes(160, 90, 30))
    second = [number for number, packet in enumerate(coded.packets) if packet.is_keyframe][1]

    whole = decoded(plan, coded)
    rest = decoded(plan, coded, second)

    assert len(whole) == 30
    assert [f.to_ndarray().tobytes() for f in rest] == [f.to_ndarray().tobytes() for f in whole[12:]]


@pytest.mark.parametrize("codec", [H264(), Hevc()], ids=lambda codec: codec.name)
def test_joined_chunks_never_run_the_buffer_dry_at_a_tight_cap(codec: H264 | Hevc) -> None:
    plan = plan_of(codec, gop=15, crf=16, max_bitrate_bps=400_000)
    greedy = with_params(plan, "vbv-init=1.0")
    assert plan.max_bitrate_bps is not None
    assert plan.buffer_bits is not None

    def underflows(plan: RenditionPlan) -> int:
        bits: list[int] = []
        shown: list[int] = []
        for chunk in range(6):
            coded = encoded(plan, np.random.default_rng(chunk).integers(60, 200, (30, 90, 160), dtype=np.uint8))
            bits += coded.bits
            shown += [(packet.pts or 0) + 30 * chunk for packet in coded.packets]
        due = [float(dts / RATE) for dts in decode_times(sorted(shown), shown)]
        assert sum(bits) > 0.8 * 400_000 * 6, "the cap binds"
        return vbv_replay(bits, due, plan.max_bitrate_bps or 0, plan.buffer_bits or 0, start=1.0)[0]

    assert underflows(plan) == 0
    assert underflows(greedy) > 0


@pytest.mark.parametrize("codec", [Hevc(), Av1()], ids=lambda codec: codec.name)
def test_hdr_is_said_in_the_parameters_with_its_mastering_display(codec: Hevc | Av1) -> None:
    plan = plan_of(codec, color=HDR10, hdr=True, mastering_display=MASTERING, content_light="1000,400")

    check_options(plan, RATE)
    frame = decoded(plan, encoded(plan, scenes(160, 90, 3)))[0]

    assert frame.format.name == "yuv420p10le"
    assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (9, 16, 9, 1)
    side = {data.type: bytes(data) for data in frame.side_data.values()}
    numbers = struct.unpack_from("<20i", side[Type.MASTERING_DISPLAY_METADATA])
    values = [Fraction(*numbers[n : n + 2]) for n in range(0, 20, 2)]  # r, g, b, white: x and y; luminance: least, most
    expected = [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.005, 1000]
    assert [float(value) for value in values] == pytest.approx(expected, rel=1e-3)
    assert struct.unpack_from("<2I", side[Type.CONTENT_LIGHT_LEVEL]) == (1000, 400)


@each_codec
def test_colours_are_said_in_the_parameters(codec: H264 | Hevc | Av1) -> None:
    plan = plan_of(codec, color=ColorTags("smpte170m", "smpte170m", "bt709"))
    frame = decoded(plan, encoded(plan, scenes(160, 90, 2)))[0]

    assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (6, 6, 1, 1)


@each_codec
def test_the_smallest_picture_of_each_codec_is_encoded_and_a_smaller_one_refused(codec: H264 | Hevc | Av1) -> None:
    least = MIN_SIDE_PX[codec.name]

    check_options(plan_of(codec, least, least), RATE)
    check_options(plan_of(codec, 8192, least), RATE)
    if least > 2:
        with pytest.raises(UnsupportedMedia, match=f"needs {least} pixels a side: use a recipe with h264"):
            plan_of(codec, 640, least - 2)


SMALL_PICTURES = """
import sys
from tests.support.encoding import CODECS, encoded, plan_of, scenes
codec = next(codec for codec in CODECS if codec.name == sys.argv[1])
for width, height in ((48, 48), (32, 90), (90, 32), (62, 62), (160, 34), (16, 16), (160, 16)):
    if codec.name == "hevc" and min(width, height) < 32:
        continue
    encoded(plan_of(codec, width, height), scenes(width, height, 26))
"""


@pytest.mark.skipif(not MALLOC_DEBUG, reason="glibc's checking allocator is not installed")
@each_codec
def test_small_pictures_do_not_corrupt_memory(codec: H264 | Hevc | Av1) -> None:
    """x265's quantiser tree does, below 64 pixels of width, and SVT-AV1 at 8×8: unnoticed, until something crashes."""
    answer = subprocess.run(
        [sys.executable, "-c", SMALL_PICTURES, codec.name],
        env=os.environ | {"LD_PRELOAD": MALLOC_DEBUG, "MALLOC_CHECK_": "3"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert answer.returncode == 0, answer.stderr[-500:]


DIGESTS = """
import hashlib, sys
from tests.support.encoding import CODECS, encoded, plan_of, scenes, with_params
codec = next(codec for codec in CODECS if codec.name == sys.argv[1])
for width in (160, 426, 854):
    plan = plan_of(codec, width, 90)
    coded = encoded(with_params(plan, sys.argv[2]) if sys.argv[2] else plan, scenes(width, 90, 26))
    print(width, hashlib.sha256(b"".join(map(bytes, coded.packets))).hexdigest())
"""


def digests(codec: str, params: str = "", filling: str = "1") -> list[str]:
    """Of chunks in three widths, from a process whose memory glibc fills with `filling` as it hands it out."""
    answer = subprocess.run(
        [sys.executable, "-c", DIGESTS, codec, params],
        env=os.environ | {"MALLOC_PERTURB_": filling},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return answer.stdout.splitlines()


@each_codec
def test_a_chunk_has_the_same_bytes_whatever_its_process_had_in_memory(codec: H264 | Hevc | Av1) -> None:
    found = [digests(codec.name, filling=filling) for filling in ("1", "128", "255")]

    assert len(found[0]) == 3
    assert found[0] == found[1] == found[2]


def test_an_h264_chunk_has_the_same_bytes_on_every_kind_of_processor() -> None:
    kinds = ("asm=0", "asm=sse4.2", "asm=avx2") if "avx2" in CPU else ("asm=0",)  # x264 takes such a name at its word

    assert {tuple(digests("h264", kind)) for kind in kinds} == {tuple(digests("h264"))}


@pytest.mark.skipif(
    "avx2" not in CPU, reason="this processor has no AVX2 whose bytes could differ from those of plain C"
)
def test_without_cpu_independent_the_bytes_follow_the_kind_of_processor() -> None:
    """What that option is for."""
    assert digests("h264", "cpu-independent=0:asm=avx2") != digests("h264", "cpu-independent=0:asm=0")
