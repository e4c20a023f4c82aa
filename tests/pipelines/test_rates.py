"""From loads to seconds and bytes: by a farm's own figures, else by the table; and how far off that was."""

import typing

import pytest

from ladders.model import H264, Av1, Hevc
from pipelines.loads import Load
from pipelines.rates import FAR, USUAL, Rates, misses_of, step_of, usual

MEDIUM = Load("cpu encode h264 medium", 0, 1e9)
SLOW = Load("cpu encode h264 slow", 0, 1e9)


def test_a_farm_without_figures_goes_by_the_table_and_says_so() -> None:
    found = Rates({}).of(MEDIUM, "plain")
    assert found.amount == pytest.approx(usual(MEDIUM.what, 0, 1e9))
    assert found.known == 0


def test_its_own_figures_of_such_work_on_such_a_node_come_first() -> None:
    rates = Rates({(MEDIUM.what, "fast"): (0, 1e9, 10.0), (MEDIUM.what, "slow"): (0, 1e9, 40.0)})
    assert [rates.of(MEDIUM, kind).amount for kind in ("fast", "slow")] == pytest.approx([10, 40])
    elsewhere = rates.of(MEDIUM, "new")
    assert elsewhere.amount == elsewhere.known == pytest.approx(25), "as on all kinds together"


def test_work_that_it_never_did_goes_by_how_fast_its_nodes_are_in_other_work() -> None:
    rates = Rates({(MEDIUM.what, "plain"): (0, 1e9, 3 * usual(MEDIUM.what, 0, 1e9))})
    found = rates.of(SLOW, "plain")
    assert [found.amount, found.known] == pytest.approx([3 * usual(SLOW.what, 0, 1e9), 0])


def test_what_a_process_costs_anyhow_is_kept_apart_from_what_grows() -> None:
    """A farm of tiny clips must not tell an hour of film by them."""
    what = "cpu sound"
    start, unit = USUAL[what]
    rates = Rates({(what, "plain"): (100, 100.0, 2 * usual(what, 100, 100.0))})
    hour = rates.of(Load(what, 1, 3600.0), "plain")
    assert hour.amount == pytest.approx(2 * (start + 3600 * unit))
    assert hour.amount < 3600 * 2 * usual(what, 100, 100.0) / 100


def test_no_gpu_is_reckoned_with_until_one_worked() -> None:
    picture = Load("gpu picture", 0, 12e6)
    assert Rates({("cpu picture jpeg", "plain"): (1, 1e6, 5.0)}).of(picture, "plain").amount == 0
    assert Rates({("gpu picture", "gpu"): (0, 24e6, 0.02)}).of(picture, "gpu").amount == pytest.approx(0.01)


def test_better_quality_is_reckoned_with_more_bytes() -> None:
    sizes = [usual(f"bytes h264 crf{crf} 1024", 0, 1e9) for crf in (17, 23, 29)]
    assert sizes[0] == pytest.approx(2 * sizes[1]) == pytest.approx(4 * sizes[2])
    assert usual("bytes webp q90 512", 0, 1e6) > usual("bytes webp q60 512", 0, 1e6)


def test_the_table_knows_every_preset_that_a_recipe_can_name() -> None:
    for codec in (H264, Hevc):
        for preset in typing.get_args(codec.model_fields["preset"].annotation):
            assert f"cpu encode {codec().name} {preset}" in USUAL
    assert all(f"cpu encode {Av1().name} {preset}" in USUAL for preset in range(2, 10))


def test_half_of_the_estimates_were_within_the_median() -> None:
    assert misses_of({}) is None
    found = misses_of({-8: 1, -2: 2, 0: 4, 2: 2, 16: 1})
    assert found is not None
    off = 2 ** (2 / 8)
    assert [found.jobs, found.median, found.low, found.high] == pytest.approx([10, off, 0.5, off])


@pytest.mark.parametrize(
    ("real", "estimated", "step"), [(2, 1, 8), (1, 2, -8), (1, 1, 0), (1e9, 1, FAR), (0, 1, None), (1, 0, None)]
)
def test_a_miss_is_told_in_eighths_of_doublings(real: float, estimated: float, step: int | None) -> None:
    assert step_of(real, estimated) == step
