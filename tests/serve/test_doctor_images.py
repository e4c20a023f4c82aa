"""What `farm doctor` says about pictures."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.images.capability import ImageSpeed, Speed, save, versions_here
from serve import doctor, doctor_images
from serve.doctor_images import ask_for_gpu, image_findings
from serve.findings import Finding

CARD = {"name": "NVIDIA L4", "memory_bytes": 24_000_000_000, "cuda": "13.0", "why": ""}


def found(name: str, record: Path | None = None) -> Finding:
    return next(finding for finding in image_findings(record) if finding.name == name)


def with_gpu(monkeypatch: pytest.MonkeyPatch, **answer: Any) -> None:
    pytest.importorskip("nvidia.dali", reason="DALI is installed on GPU nodes and for development, on Linux only")
    monkeypatch.setattr(doctor_images, "ask_for_gpu", lambda: answer)


def test_the_engines_for_single_pictures_are_here() -> None:
    assert found("pillow").ok
    assert "pillow-simd" in found("pillow").reason
    assert "reads JPEG, PNG, WebP, GIF, TIFF and AVIF" in found("libvips").reason
    assert "HEVC" in found("heif").reason


def test_stock_pillow_is_no_pillow_simd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_images, "packages_distributions", lambda: {"PIL": ["pillow"]})
    reason = "pillow is installed, not pillow-simd: slower, else alike"
    assert found("pillow") == Finding("pillow", False, reason, needed=False)

    monkeypatch.setattr(doctor_images, "packages_distributions", lambda: {"PIL": ["pillow", "pillow-simd"]})
    assert "overwrite each other's files" in found("pillow").reason


def test_no_gpu_is_a_no_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, name=None, why="no NVIDIA driver on this machine (libcuda.so.1)")

    assert (found("dali").ok, found("dali").needed) == (False, False)
    assert "no NVIDIA driver" in found("dali").reason
    assert "image speed" not in [finding.name for finding in image_findings(None)]


def test_a_gpu_is_not_used_for_pictures_until_it_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_gpu(monkeypatch, **CARD)

    assert found("dali").ok
    assert "NVIDIA L4, 24 GB, CUDA 13.0" in found("dali").reason
    assert not found("image speed", tmp_path / "none.json").ok
    assert "python -m benchmarks images-gpu" in found("image speed").reason


def test_a_record_says_what_is_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_gpu(monkeypatch, **CARD)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    speeds = (Speed("cpu", 12, 1, 300, 16), Speed("dali", 12, 32, 500, 9))
    record = ImageSpeed("NVIDIA L4", 16, "web", "2026-11-26T12:00:00+00:00", versions_here(), 32, 0.99, speeds)
    save(record, tmp_path / "speed.json")

    finding = found("image speed", tmp_path / "speed.json")

    assert finding.ok
    assert finding.reason == "in batches of 32: 12 MP: 500 images/s by DALI, 300 on the CPU → DALI"


def test_the_driver_is_asked_by_another_process_and_answers_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask_for_gpu()
    assert bool(answer["name"]) != bool(answer["why"])

    def hangs(*_: Any, timeout: float, **__: Any) -> None:
        raise subprocess.TimeoutExpired("gpu", timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert "did not answer" in ask_for_gpu()["why"]


def test_the_doctor_reads_the_record_that_the_settings_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path | None] = []

    def findings(record: Path | None) -> list[Finding]:
        asked.append(record)
        return []

    monkeypatch.setattr(doctor, "image_findings", findings)
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FARM_IMAGE_SPEED_FILE", str(tmp_path / "speed.json"))

    doctor.examine()

    assert asked == [tmp_path / "speed.json"]
