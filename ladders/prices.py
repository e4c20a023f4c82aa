"""The price table of a recipe: what the work and the room for it cost whoever runs the farm."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ladders.part import Part, unique

Price = Annotated[float, Field(ge=0, le=1_000_000)]


class NodePrices(Part):
    """What is dearer or cheaper on one kind of node, such as one on the spot market."""

    kind: Annotated[str, Field(min_length=1, max_length=63)]
    """Ray's `ray.io/node-group`, or the label `pool` of nodes that are started by hand."""
    cpu_hour: Price | None = None
    gpu_hour: Price | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.cpu_hour is None and self.gpu_hour is None:
            raise ValueError(f"{self.kind}: give cpu_hour, gpu_hour or both")
        return self


class Prices(Part):
    """Prices in one currency. They decide no output: what was made before a price changed stays current."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """ISO 4217, such as USD."""
    cpu_hour: Price
    """One core at work for an hour: the node's price by its cores."""
    gpu_hour: Price = 0.0
    """One GPU at work for an hour: what a node with one costs beyond its cores."""
    nodes: tuple[NodePrices, ...] = ()
    """Of kinds of node that have prices of their own."""
    storage_gb_month: Price = 0.0
    """One gigabyte (10^9 bytes) of outputs for a month."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unique("nodes", (node.kind for node in self.nodes))
        return self

    def of(self, node_kind: str, cpu_s: float, gpu_s: float) -> float:
        """What so many seconds of cores and of GPUs cost on a node of that kind."""
        own = next((node for node in self.nodes if node.kind == node_kind), None)
        cpu_hour = self.cpu_hour if own is None or own.cpu_hour is None else own.cpu_hour
        gpu_hour = self.gpu_hour if own is None or own.gpu_hour is None else own.gpu_hour
        return (cpu_s * cpu_hour + gpu_s * gpu_hour) / 3600
