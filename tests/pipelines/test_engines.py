"""A GPU's engines are found by using them, and every no has its reason."""

import io

import av
import pytest
from av.error import FFmpegError

from pipelines import engines
from pipelines.engines import CODECS, FRAMES, encode, find_engines, prove_decoder
from pipelines.gpu_units import count_decoders, count_jpeg_engines
from pipelines.images.gpu import Gpu, NoGpu, prove_jpeg_engine
from tests.support.gpu import NEEDS_GPU, NEEDS_NO_GPU


@pytest.mark.parametrize("codec", CODECS)
def test_what_the_gpu_is_asked_to_decode_is_really_that_codec(codec: str) -> None:
    with av.open(io.BytesIO(encode(CODECS[codec])), "r") as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
        assert len(list(container.decode(video=0))) == FRAMES


def test_a_machine_without_a_gpu_says_why_it_has_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Gpu:
        raise NoGpu("no driver")

    monkeypatch.setattr(engines, "find_gpu", none)
    assert find_engines() == engines.Engines(
        None, why={"nvenc": "no driver", "nvdec": "no driver", "nvjpg": "no driver"}
    )


def test_a_gpu_whose_engines_do_not_work_has_none_and_a_reason_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise NoGpu("the container may not use it")

    monkeypatch.setattr(engines, "find_gpu", lambda: Gpu("some GPU", 1, "13.0"))
    monkeypatch.setattr(engines, "prove_jpeg_engine", refuses)
    monkeypatch.setattr(engines, "prove_decoder", refuses)
    monkeypatch.setattr(engines, "count_decoders", lambda codec: 0 if codec == "av1" else 7)
    monkeypatch.setattr(engines, "encode", refuses)
    found = find_engines()
    assert (found.name, found.nvenc, found.nvdec, found.nvjpg) == ("some GPU", (), (), False)
    assert (found.why["nvdec av1"], found.why["nvdec h264"]) == (
        "this GPU has no decoder for it",
        "the container may not use it",
    )
    assert set(found.why) == {f"{kind} {codec}" for kind in ("nvenc", "nvdec") for codec in CODECS} | {"nvjpg"}


@NEEDS_NO_GPU
def test_the_reason_of_a_no_is_what_ffmpeg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_gpu", lambda: Gpu("some GPU", 1, "13.0"))

    found = find_engines()

    assert found.why["nvenc h264"] == "Cannot load libcuda.so.1"
    assert all("libcuda.so.1" in found.why[f"nvdec {codec}"] for codec in CODECS)
    assert found.counts == {}


@pytest.mark.gpu
@NEEDS_GPU
def test_each_decoder_of_the_gpu_that_its_driver_counts_decodes() -> None:
    for codec in CODECS:
        if count_decoders(codec):
            prove_decoder(codec)
        else:
            with pytest.raises((FFmpegError, RuntimeError, ValueError)):
                prove_decoder(codec)
    assert count_decoders("h264") > 0


@pytest.mark.gpu
@NEEDS_GPU
def test_jpeg_engines_are_counted_where_there_are_some() -> None:
    try:
        prove_jpeg_engine()
    except NoGpu:
        assert find_engines().counts.get("nvjpg") is None
    else:
        assert find_engines().counts["nvjpg"] == count_jpeg_engines() > 0
