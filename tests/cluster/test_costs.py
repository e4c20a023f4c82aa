"""What a job cost."""

from cluster.costs import cost_of, prices_of
from ladders.prices import NodePrices, Prices

PRICES = Prices(currency="EUR", cpu_hour=3.6, gpu_hour=36.0, nodes=(NodePrices(kind="spot", cpu_hour=0.36),))
FIGURES = {
    "done": [
        ["cpu encode h264 medium", "plain", 0, 1e8, 10.0],
        ["cpu chunk", "plain", 1, 1e8, 2.0],
        ["cpu encode h264 medium", "spot", 0, 1e8, 10.0],
        ["gpu picture", "plain", 0, 1e6, 0.5],
        ["wall video", "plain", 0, 12, 99.0],
        ["bytes h264 crf23 512", "", 0, 1e8, 1000],
    ]
}


def test_seconds_cost_what_their_kind_of_node_does() -> None:
    assert cost_of(FIGURES, PRICES) == {
        "amount": 0.018,
        "currency": "EUR",
        "nodes": {"plain": {"cpu_s": 12.0, "gpu_s": 0.5}, "spot": {"cpu_s": 10.0, "gpu_s": 0.0}},
    }


def test_without_prices_the_seconds_are_told_alone() -> None:
    assert prices_of({"prices": None}) is prices_of({}) is None
    found = cost_of(FIGURES, None)
    assert (found["amount"], found["currency"], len(found["nodes"])) == (None, None, 2)
    assert prices_of({"prices": PRICES.model_dump(mode="json")}) == PRICES
