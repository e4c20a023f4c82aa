"""From forms of sources, history, lanes and prices to an estimate."""

import pytest

from cluster.batches.estimating import estimate, lanes_of
from cluster.batches.forms import MOST, Alike, Forms
from cluster.jobs import History
from cluster.nodes import Node
from ladders.catalog import load_preset
from ladders.model import Recipe
from ladders.prices import NodePrices, Prices
from pipelines.rates import Misses, Rates
from pipelines.shapes import Shape

CLIP = Shape("video", width=1280, height=720, codec="h264", frame_rate=30, duration_s=60, tracks=1)
PHOTO = Shape("image", width=4000, height=3000, codec="jpeg")
PREVIEW = load_preset("preview")
PIXELS = 60 * 30 * 1280 * 720
NOTHING_KNOWN = History(0, Rates({}), {})
PRICES = Prices(currency="EUR", cpu_hour=3600.0, nodes=(NodePrices(kind="spot", cpu_hour=360.0),))


def knowing(**seconds: float) -> History:
    """A farm whose kinds of node take so many CPU seconds for a clip's encoding, and nothing else."""
    rows = {}
    for kind, cpu_s in seconds.items():
        rows["cpu encode h264 veryfast", kind] = (0.0, float(PIXELS), cpu_s)
        rows |= {(f"cpu {what}", kind): (1.0, 1e9, 0.0) for what in ("inspect", "decode h264", "chunk", "sound")}
        rows["cpu finish video", kind] = (1.0, 1e9, 0.0)
        rows["wall video", kind] = (0.0, 100.0, 200.0)
    return History(100, Rates(rows), {})


def test_a_farm_without_history_reckons_by_the_table_with_a_range_of_two() -> None:
    found = estimate([Alike(CLIP, 100)], PREVIEW, NOTHING_KNOWN, {"plain": 4})
    assert (found.known, found.past, found.items) == (0.0, {}, 100)
    assert (found.cpu_s.low, found.cpu_s.high) == (found.cpu_s.likely / 2, found.cpu_s.likely * 2)
    one = estimate([Alike(CLIP, 1)], PREVIEW, NOTHING_KNOWN, {"plain": 4})
    assert found.cpu_s.likely == pytest.approx(100 * one.cpu_s.likely)


def test_time_is_what_all_lanes_need_and_no_lane_is_no_time() -> None:
    sources, history = [Alike(CLIP, 100)], knowing(plain=10.0)
    times = [estimate(sources, PREVIEW, history, {"plain": lanes}).wall_s for lanes in (1, 10)]
    assert [one.likely for one in times if one] == pytest.approx([2000, 200]), "a lane takes twice the CPU's seconds"
    assert estimate(sources, PREVIEW, history, {}).wall_s is None
    assert estimate(sources, PREVIEW, history, {}).cpu_s.likely == pytest.approx(1000)


def test_one_source_takes_as_long_as_its_chunks_however_many_lanes_there_are() -> None:
    found = estimate([Alike(CLIP, 1)], PREVIEW, knowing(plain=10.0), {"plain": 1000})
    assert found.wall_s is not None
    assert found.wall_s.likely == pytest.approx(20 / 15), "it is cut into 15"


def test_kinds_of_node_share_the_work_as_fast_as_they_are_and_each_has_its_price() -> None:
    recipe = PREVIEW.model_copy(update={"prices": PRICES})
    found = estimate([Alike(CLIP, 40)], recipe, knowing(plain=10.0, spot=30.0), {"plain": 1, "spot": 1})
    assert found.cpu_s.likely == pytest.approx(30 * 10 + 10 * 30)
    assert found.cost is not None
    assert found.cost.likely == pytest.approx(300 * 1.0 + 300 * 0.1)
    assert found.wall_s is not None
    assert found.wall_s.likely == pytest.approx(600), "both end at the same time"


def test_a_recipe_without_prices_has_no_cost() -> None:
    found = estimate([Alike(CLIP, 1)], PREVIEW.model_copy(update={"prices": None}), NOTHING_KNOWN, {"plain": 1})
    assert (found.cost, found.storage_month, found.currency) == (None, None, None)


def test_the_range_is_how_far_past_estimates_of_such_media_were_off() -> None:
    misses = {
        "cpu video": Misses(50, 1.1, 0.8, 1.5),
        "cpu image": Misses(50, 1.1, 0.1, 9.0),
        "bytes video": Misses(2, 1.0, 1.0, 1.0),
    }
    history = History(100, knowing(plain=10.0).rates, misses)
    found = estimate([Alike(CLIP, 10), Alike(PHOTO, 10)], PREVIEW, history, {"plain": 1})
    cpu = found.cpu_s
    assert [cpu.low / cpu.likely, cpu.high / cpu.likely] == pytest.approx([0.8, 1.5])
    assert found.wall_s is not None
    assert found.wall_s.high / found.wall_s.likely == pytest.approx(1.5)
    assert set(found.past) == {"cpu"}, "two jobs tell nothing of the bytes"
    assert found.output_bytes.high == pytest.approx(2 * found.output_bytes.likely)


def test_what_the_recipe_makes_nothing_of_is_counted_and_costs_nothing() -> None:
    audio: Recipe = load_preset("audio")
    found = estimate([Alike(PHOTO, 7)], audio, NOTHING_KNOWN, {"plain": 1})
    assert (found.unsuited, found.cpu_s.likely, found.output_bytes.likely) == (7, 0.0, 0.0)
    assert found.wall_s is not None
    assert found.wall_s.likely == 0


def test_lanes_are_those_of_nodes_that_take_steps() -> None:
    nodes = [
        Node("a", "1", 4, 0, 0, {"pool": "spot"}),
        Node("b", "2", 2, 0, 0, {"pool": "spot"}),
        Node("c", "3", 8, 0, 0, {"pool": "spot"}, is_draining=True),
        Node("d", "4", 0, 0, 0),
        Node("e", "5", 1, 0, 0),
    ]
    assert lanes_of(nodes) == {"spot": 6, "plain": 1}


def test_sources_of_any_size_are_a_few_hundred_forms_of_as_many_pixels() -> None:
    forms, pixels = Forms(), 0
    for number in range(5000):
        width, height = 200 + (number * 37) % 3800, 200 + (number * 91) % 2800
        pixels += width * height
        forms.add(Shape("image", width=width, height=height, codec="jpeg"))
    found = forms.all()
    assert len(found) <= MOST
    assert sum(one.items for one in found) == 5000
    assert sum(one.items * one.shape.width * one.shape.height for one in found) == pytest.approx(pixels, rel=0.1)


def test_videos_alike_are_one_form_with_their_mean_length() -> None:
    forms = Forms()
    for seconds in (10.0, 30.0):
        forms.add(Shape("video", width=640, height=360, codec="h264", frame_rate=29.97002, duration_s=seconds))
    assert forms.all() == [
        Alike(Shape("video", width=640, height=360, codec="h264", frame_rate=29.97, duration_s=20.0), 2)
    ]


def test_sources_that_have_nothing_in_common_are_a_few_hundred_forms_too() -> None:
    forms = Forms()
    for number in range(1500):
        forms.add(Shape("video", width=2, height=2, codec=f"codec{number}", frame_rate=1e-9 * number, tracks=number))
    found = forms.all()
    assert len(found) <= MOST
    assert sum(one.items for one in found) == 1500


def test_each_range_goes_by_the_kind_that_most_of_it_is_of() -> None:
    missed = {what: Misses(100, 1.1, 0.5, high) for what, high in (("cpu video", 3.0), ("bytes image", 5.0))}
    history = History(100, Rates({}), missed)
    recipe = load_preset("standard")
    sources = [Alike(CLIP, 1), Alike(PHOTO, 200)]
    heavy = [estimate([one], recipe, history, {}) for one in sources]
    assert heavy[0].cpu_s.likely > heavy[1].cpu_s.likely
    assert heavy[0].output_bytes.likely < heavy[1].output_bytes.likely
    found = estimate(sources, recipe, history, {})
    assert found.cpu_s.high == pytest.approx(3 * found.cpu_s.likely)
    assert found.output_bytes.high == pytest.approx(5 * found.output_bytes.likely)
