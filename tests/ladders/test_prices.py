"""The price table of a recipe."""

from pathlib import Path
from typing import Any

import pytest

from ladders.catalog import load_file, load_preset, names
from ladders.errors import InvalidRecipe
from ladders.prices import NodePrices, Prices

TABLE = Prices(currency="EUR", cpu_hour=0.04, gpu_hour=0.5, nodes=(NodePrices(kind="spot", cpu_hour=0.01),))


def test_changing_a_price_keeps_the_digest_so_that_nothing_is_made_again() -> None:
    for name in names():
        recipe = load_preset(name)
        digests = {recipe.model_copy(update={"prices": prices}).digest for prices in (None, TABLE, recipe.prices)}
        assert digests == {recipe.digest}, name


@pytest.mark.parametrize(("kind", "cost"), [("plain", 0.04 + 0.25), ("spot", 0.01 + 0.25)])
def test_a_kind_of_node_costs_what_is_said_of_it_and_else_what_all_do(kind: str, cost: float) -> None:
    assert TABLE.of(kind, cpu_s=3600, gpu_s=1800) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ("{cpu_hour: 0.04}", "prices.currency: missing"),
        ("{currency: euro, cpu_hour: 0.04}", "prices.currency"),
        ("{currency: EUR, cpu_hour: -1}", "prices.cpu_hour: should be greater than or equal to 0"),
        ("{currency: EUR, cpu_hours: 1, cpu_hour: 1}", "prices.cpu_hours: unknown key; did you mean cpu_hour?"),
        ("{currency: EUR, cpu_hour: 1, nodes: [{kind: spot}]}", "spot: give cpu_hour, gpu_hour or both"),
        (
            "{currency: EUR, cpu_hour: 1, nodes: [{kind: a, cpu_hour: 1}, {kind: a, cpu_hour: 2}]}",
            "nodes: the name a stands there 2 times",
        ),
    ],
)
def test_a_price_table_that_cannot_be_is_refused_in_words_that_say_where(
    prices: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\naudio: {{renditions: [{{name: a, bitrate_bps: 64000}}]}}\nprices: {prices}\n")
    with pytest.raises(InvalidRecipe) as refused:
        load_file(path)
    problems: Any = refused.value.detail["problems"]
    assert said in problems[0]
