"""DALI is used where it was measured to be faster, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.images_gpu import record_of
from pipelines.images.capability import (
    ImageSpeed,
    Speed,
    dali_pays,
    least_batch,
    load,
    record_here,
    save,
    verdict,
    versions_here,
)
from pipelines.images.gpu import Gpu


def dali(megapixels: float, batch: int, images_per_s: float) -> Speed:
    return Speed("dali", megapixels, batch, images_per_s, 3.0)


def cpu(megapixels: float, images_per_s: float) -> Speed:
    return Speed("cpu", megapixels, 1, images_per_s, 16.0)


# The GPU wins in batches of 32 with 12 megapixels and more, and never with 2.
RECORD = ImageSpeed(
    device="NVIDIA L4",
    cores=16,
    recipe="web",
    measured_at="2026-11-26T12:00:00+00:00",
    versions=versions_here(),
    batch=256,
    lowest_ssim=0.991,
    speeds=(
        cpu(2, 1_000),
        dali(2, 1, 100),
        dali(2, 32, 900),
        dali(2, 256, 1_050),
        cpu(12, 300),
        dali(12, 1, 100),
        dali(12, 32, 400),
        dali(12, 256, 500),
    ),
)


@pytest.mark.parametrize(
    ("megapixels", "batch", "pays"),
    [
        (12, 32, True),
        (12, 256, True),
        (12, 1_000, True),
        (12, 31, False),  # as measured with 1
        (12, 1, False),
        (2, 32, False),
        (2, 256, False),  # 5 % faster: not worth it
        (8, 256, False),  # 2 megapixels do not pay, so it is not known of 8
        (24, 256, True),  # near enough to 12
        (25, 256, False),  # nobody measured anything like it
        (0.9, 256, False),
        (12, 0, False),
    ],
)
def test_dali_is_chosen_where_it_was_measured_to_be_faster(megapixels: float, batch: int, pays: bool) -> None:
    assert dali_pays(RECORD, megapixels, batch) is pays


def test_between_two_sizes_that_pay_it_pays() -> None:
    record = replace(RECORD, speeds=(*RECORD.speeds, dali(2, 256, 1_200)))

    assert dali_pays(record, 8, 256)
    assert dali_pays(record, 1, 256)


def test_without_a_record_or_with_nothing_to_compare_dali_is_not_chosen() -> None:
    assert not dali_pays(None, 12, 256)
    assert not dali_pays(replace(RECORD, speeds=()), 12, 256)
    assert not dali_pays(replace(RECORD, speeds=tuple(one for one in RECORD.speeds if one.engine == "dali")), 12, 256)


def test_pictures_that_differ_are_not_worth_any_speed() -> None:
    record = replace(RECORD, lowest_ssim=0.97)

    assert not dali_pays(record, 12, 256)
    assert "the pictures differ" in verdict(record)


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "made" / "image-speed.json"

    save(RECORD, path)

    assert load(path) == RECORD
    assert [entry.name for entry in path.parent.iterdir()] == ["image-speed.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"speeds": [1]}', '{"speeds": [{"engine": "cpu"}]}', "\xff"])
def test_what_is_no_record_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "image-speed.json"
    path.write_bytes(content.encode("latin-1"))

    with pytest.raises(ValueError, match="is no record of image speeds"):
        load(path)
    assert record_here(path, "NVIDIA L4", 16)[0] is None


def test_a_record_holds_on_the_machine_where_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "image-speed.json"
    assert record_here(None, "NVIDIA L4", 16) == (None, "no record is configured")
    assert "nothing was measured yet" in record_here(path, "NVIDIA L4", 16)[1]
    save(RECORD, path)

    record, says = record_here(path, "NVIDIA L4", 16)
    assert record == RECORD
    assert "12 MP: 500 images/s by DALI, 300 on the CPU → DALI" in says
    assert "2 MP: 1,050 images/s by DALI, 1,000 on the CPU → CPU" in says

    assert record_here(path, "NVIDIA H100", 16) == (
        None,
        "it was measured with other device: NVIDIA L4, here NVIDIA H100",
    )
    assert "other cores: 16, here 4" in record_here(path, "NVIDIA L4", 4)[1]
    save(replace(RECORD, versions={"av": "1"}), path)
    assert "other versions: av 1, here" in record_here(path, "NVIDIA L4", 16)[1]


def test_the_benchmark_keeps_the_batches_that_were_fastest_with_the_largest_photos() -> None:
    speeds = (cpu(2, 900), dali(2, 256, 2_000), cpu(12, 300), dali(12, 32, 400), dali(12, 256, 350))

    record = record_of(Gpu("NVIDIA L4", 24_000_000_000, "13.0"), 16, 0.99, speeds)

    assert (record.batch, record.device) == (32, "NVIDIA L4")
    assert dali_pays(record, 12, 32)


def test_the_least_batch_that_pays_is_known_beforehand() -> None:
    assert least_batch(RECORD) == 32
    assert least_batch(replace(RECORD, speeds=(cpu(12, 300), dali(12, 1, 320), dali(12, 256, 310)))) is None
    assert least_batch(replace(RECORD, speeds=())) is None
