"""What many sources would take: CPU hours, time, bytes and money, and how far such estimates were off before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.batches.forms import Alike
from cluster.held import CUT_FOR_SLOTS
from cluster.jobs import History
from cluster.monitoring.facts import node_kind
from cluster.nodes import Node
from ladders.model import Recipe
from ladders.prices import Prices
from pipelines.loads import Load, loads_of, walling
from pipelines.rates import Misses, Rates, Reckoned

UNKNOWN = 2.0  # the factor, up and down, of a range that no past estimate tells
LEAST_JOBS = 5  # that tell one
NOTHING = Reckoned()


@dataclass(frozen=True, slots=True)
class Range:
    """The likely value, and what it may well be instead."""

    likely: float
    low: float
    high: float

    def times(self, factor: float) -> "Range":
        """In another unit."""
        return Range(self.likely * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What it would take to make everything anew. Nothing of it counts what an earlier batch has already."""

    items: int
    unsuited: int  # of them, that the recipe makes nothing of
    cpu_s: Range
    gpu_s: float
    lanes: Mapping[str, int]  # that there are now, by kind of node
    wall_s: Range | None  # None while there are none
    output_bytes: Range
    cost: Range | None  # None without prices
    storage_month: Range | None
    currency: str | None
    known: float  # the share of the CPU seconds that rests on this farm's own figures of just such work, 0 to 1
    history_jobs: int
    past: Mapping[str, Misses] = field(default_factory=dict)  # of cpu and bytes


def lanes_of(nodes: Iterable[Node]) -> dict[str, int]:
    """Lanes of the nodes that take steps now, by kind of node."""
    lanes: dict[str, int] = {}
    for node in nodes:
        if node.lanes and not node.is_draining:
            kind = node_kind(node.labels)
            lanes[kind] = lanes.get(kind, 0) + node.lanes
    return lanes


def estimate(sources: Sequence[Alike], recipe: Recipe, history: History, lanes: Mapping[str, int]) -> Estimate:
    """What `recipe` would take of `sources` on the lanes that there are."""
    whole = _Sum()
    for alike in sources:
        loads = loads_of(alike.shape, recipe, CUT_FOR_SLOTS)
        if loads is None:
            whole.unsuited += alike.items
        else:
            whole.add(_Source(alike.shape.kind, loads, history.rates), alike.items, recipe.prices, lanes)
    # The past errors of the kind that most of it is of tell the range.
    mainly = {"cpu": _largest(whole.cpu_of), "bytes": _largest(whole.bytes_of)}
    past = {name: found for name, kind in mainly.items() if (found := _past(f"{name} {kind}", history))}
    cpu_s, output_bytes = _ranged(whole.cpu.amount, past.get("cpu")), _ranged(whole.bytes.amount, past.get("bytes"))
    per_cpu_s = 1 / whole.cpu.amount if whole.cpu.amount else 0.0
    prices = recipe.prices
    gb_month = prices.storage_gb_month / 1e9 if prices is not None else 0.0
    return Estimate(
        items=sum(alike.items for alike in sources),
        unsuited=whole.unsuited,
        cpu_s=cpu_s,
        gpu_s=whole.gpu.amount,
        lanes=dict(lanes),
        wall_s=cpu_s.times(max(whole.wall_s, whole.longest_s) * per_cpu_s) if lanes else None,
        output_bytes=output_bytes,
        cost=cpu_s.times(whole.cost * per_cpu_s) if prices is not None else None,
        storage_month=output_bytes.times(gb_month) if gb_month else None,
        currency=prices.currency if prices is not None else None,
        known=whole.cpu.known * per_cpu_s,
        history_jobs=history.jobs,
        past=past,
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """One source on its way through the farm."""

    kind: str
    loads: Sequence[Load]
    rates: Rates

    def on(self, group: str, node_kind: str) -> Reckoned:
        """CPU or GPU seconds, or bytes."""
        return self.rates.total(group, self.loads, node_kind)

    def lane_s(self, node_kind: str) -> float:
        """Seconds that it takes a lane of such nodes."""
        of_whom = "image" if self.kind == "image" else "video"
        return max(1e-6, self.rates.of(walling(of_whom, self.on("cpu", node_kind).amount), node_kind).amount)

    @property
    def parts(self) -> float:
        """How many lanes it can fill."""
        return max([1.0, *(load.processes for load in self.loads if load.what.startswith("cpu chunk"))])


@dataclass(slots=True)
class _Sum:
    cpu: Reckoned = NOTHING
    gpu: Reckoned = NOTHING
    bytes: Reckoned = NOTHING
    cost: float = 0.0
    wall_s: float = 0.0
    longest_s: float = 0.0  # of one source, alone
    unsuited: int = 0
    cpu_of: dict[str, float] = field(default_factory=dict)  # by kind of media
    bytes_of: dict[str, float] = field(default_factory=dict)

    def add(self, one: _Source, items: int, prices: Prices | None, lanes: Mapping[str, int]) -> None:
        """So many more sources like `one`, shared among the kinds of node as fast as each does them."""
        speeds = {kind: count / one.lane_s(kind) for kind, count in lanes.items()}
        speed = sum(speeds.values())
        for kind, own in speeds.items() or [("", 0.0)]:
            share = items * (own / speed if speed else 1.0)
            cpu, gpu = one.on("cpu", kind), one.on("gpu", kind)
            self.cpu += cpu * share
            self.gpu += gpu * share
            self.cpu_of[one.kind] = self.cpu_of.get(one.kind, 0.0) + cpu.amount * share
            if prices is not None:
                self.cost += prices.of(kind, cpu.amount, gpu.amount) * share
        made = one.on("bytes", "") * items
        self.bytes += made
        self.bytes_of[one.kind] = self.bytes_of.get(one.kind, 0.0) + made.amount
        if speed:
            self.wall_s += items / speed
            self.longest_s = max(self.longest_s, sum(lanes.values()) / speed / min(sum(lanes.values()), one.parts))


def _largest(amounts: Mapping[str, float]) -> str:
    return max(amounts, key=lambda kind: amounts[kind], default="")


def _past(what: str, history: History) -> Misses | None:
    found = history.misses.get(what)
    return found if found is not None and found.jobs >= LEAST_JOBS else None


def _ranged(likely: float, past: Misses | None) -> Range:
    """As far around it as four of five past estimates of single jobs were off; in a batch they partly cancel."""
    if past is None:
        return Range(likely, likely / UNKNOWN, likely * UNKNOWN)
    return Range(likely, likely * min(1.0, past.low), likely * max(1.0, past.high))
