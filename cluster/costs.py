"""What a job cost, by the seconds that its media processes took and the prices of its recipe."""

from collections.abc import Mapping
from typing import Any

from ladders.prices import Prices


def prices_of(recipe: Mapping[str, Any]) -> Prices | None:
    """The price table of a recipe as plain values; None when it has none."""
    return Prices.model_validate(recipe["prices"]) if recipe.get("prices") else None


def cost_of(figures: Mapping[str, Any], prices: Prices | None) -> dict[str, Any]:
    """CPU and GPU seconds by kind of node, and the amount with its currency; both None without prices.

    What steps took that were lost or tried again is not in it.
    """
    nodes: dict[str, dict[str, float]] = {}
    for what, node_kind, *_, seconds in figures["done"]:
        counted = what.partition(" ")[0]
        if counted in ("cpu", "gpu"):
            of_kind = nodes.setdefault(node_kind, {"cpu_s": 0.0, "gpu_s": 0.0})
            of_kind[f"{counted}_s"] = round(of_kind[f"{counted}_s"] + seconds, 4)
    amount = None
    if prices is not None:
        amount = round(sum(prices.of(kind, one["cpu_s"], one["gpu_s"]) for kind, one in nodes.items()), 9)
    return {"amount": amount, "currency": prices.currency if prices is not None else None, "nodes": nodes}
