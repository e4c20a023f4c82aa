"""The layout that plain top-level packages need in order not to be mistaken for others of the same name."""

import importlib
import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["ladders", "pipelines", "cluster", "serve"]
LOCKS = [
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-gpu.lock",
    "requirements-build.lock",
    ".ci/uv-requirements.txt",
]


def test_the_four_packages_are_ours_and_come_from_one_folder() -> None:
    parents = {Path(str(importlib.import_module(name).__file__)).parents[1] for name in PACKAGES}
    assert parents == {ROOT}


def test_no_test_folder_is_a_package_that_could_shadow_the_package_it_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_serve_never_postpones_annotations_because_ray_and_fastapi_read_them() -> None:
    postponing = [
        p for p in (ROOT / "serve").rglob("*.py") if "from __future__ import annotations" in p.read_text("utf-8")
    ]
    assert postponing == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_hashes_and_no_index_so_that_any_mirror_serves(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|^--|^#|file:", text, re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\S)", text.strip()))


@pytest.mark.parametrize("lock", ["benchmarks/sharp/package-lock.json", "tests/browser/package-lock.json"])
def test_an_npm_lock_holds_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert '"integrity": "sha512-' in text


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_brings_pillow_which_would_overwrite_the_files_of_pillow_simd(lock: str) -> None:
    assert not re.search(r"^pillow==", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)


def test_one_package_owns_the_name_pil() -> None:
    assert set(packages_distributions()["PIL"]) == {"pillow-simd"}


def test_the_wheel_holds_the_four_packages_and_neither_tests_nor_benchmarks(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("farm-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
