"""What `farm doctor` says about a GPU's engines for video."""

from pathlib import Path
from typing import Any

import pytest

from serve import doctor_gpu
from serve.doctor_gpu import gpu_finding
from tests.support.gpu import NEEDS_GPU, NEEDS_NO_GPU


def with_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **answer: Any) -> None:
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(doctor_gpu, "DRIVER", tmp_path / "nvidiactl")
    monkeypatch.setattr(doctor_gpu, "ask_for_engines", lambda: answer)


@NEEDS_NO_GPU
def test_no_driver_is_a_no_that_nothing_needs() -> None:
    finding = gpu_finding()
    assert (finding.ok, finding.needed) == (False, False)
    assert "everything runs on processors" in finding.reason


def test_what_a_gpu_has_is_counted_and_each_no_has_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    why = {"nvenc h264": "no capable devices", "nvenc hevc": "no capable devices", "nvdec av1": "not supported"}
    with_engines(
        monkeypatch, tmp_path, name="H100", nvenc=[], nvdec=["h264", "hevc"], nvjpg=True, counts={"nvdec": 7}, why=why
    )

    finding = gpu_finding()

    assert finding.ok
    assert finding.reason == (
        "H100 encodes nothing (not h264 hevc: no capable devices), "
        "decodes h264 hevc with 7 units (not av1: not supported), JPEG engines: 1"
    )


def test_a_driver_that_does_not_answer_is_a_no(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    why = dict.fromkeys(("nvenc", "nvdec", "nvjpg"), "it did not answer")
    with_engines(monkeypatch, tmp_path, name=None, nvenc=[], nvdec=[], nvjpg=False, counts={}, why=why)

    assert (gpu_finding().ok, gpu_finding().reason) == (False, "it did not answer")


@pytest.mark.gpu
@NEEDS_GPU
def test_the_gpu_of_this_machine_is_found() -> None:
    assert gpu_finding().reason.startswith("NVIDIA")
