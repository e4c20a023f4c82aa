"""A GPU's engines are found by using them, and every no has its reason."""

import io
from pathlib import Path

import av
import pytest

from pipelines import engines
from pipelines.engines import CODECS, FRAMES, encode, find_engines, prove_decoder
from pipelines.images.gpu import Gpu, NoGpu


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
    monkeypatch.setattr(engines, "encode", refuses)
    found = find_engines()
    assert (found.name, found.nvenc, found.nvdec, found.nvjpg) == ("some GPU", (), (), False)
    assert set(found.why) == {f"{kind} {codec}" for kind in ("nvenc", "nvdec") for codec in CODECS} | {"nvjpg"}


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA driver: nothing that could decode")
def test_a_decoder_of_the_gpu_decodes() -> None:
    prove_decoder("h264")
