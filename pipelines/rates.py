"""What work takes: by what a farm measured of its own, else by a table of one machine; and how far off that was.

Both know each kind of work as so many seconds (or bytes) for a process and for a unit. Of its own a farm knows sums,
which say by which factor it differs from the table. So a farm of tiny clips does not tell an hour of film by their
start-up, and there are few rows.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.loads import Load

STEPS = 8  # of an octave: one is a factor of 1.09
FAR = 5 * STEPS  # a factor of 32 and more is one step
QUANTILES = (0.1, 0.9)

# CPU seconds, and some bytes, for (a process, a unit), as `python -m benchmarks.rates` found them on two cores of an
# AMD EPYC, encoders at 960×540 of natural 1080p. Of what is not named the first words may be.
USUAL: dict[str, tuple[float, float]] = {
    "cpu inspect": (0.46, 1.6e-4),
    "cpu decode": (0.0, 3.4e-9),
    "cpu decode hevc": (0.0, 8e-9),
    "cpu chunk": (0.17, 1e-10),
    "cpu chunk tone-mapped": (5.0, 5.3e-8),
    "cpu vmaf sampled": (0.3, 5e-9),
    "cpu vmaf full": (0.5, 2.7e-8),
    "cpu sound": (0.07, 0.027),
    "cpu finish": (0.5, 6.4e-4),
    "cpu picture": (0.005, 2e-8),
    "cpu picture jpeg": (0.005, 9.5e-9),
    "cpu picture png": (0.005, 3.2e-8),
    "cpu picture to": (0.0, 4.2e-8),
    "cpu picture to jpeg+webp": (0.0, 2.7e-8),
    "bytes other stills": (1.6e5, 1.6e3),
    "bytes other bare": (4e3, 2e2),
    "gpu picture": (0.0, 1e-9),  # of a unit's size only: see `Rates.of`
    "wall video": (0.0, 1.2),  # on a lane of one core
    "wall image": (0.0, 1.3),
}
_ENCODING_NS: dict[str, dict[str, float]] = {  # CPU nanoseconds a pixel, by preset
    "h264": {
        "ultrafast": 7.7, "superfast": 14, "veryfast": 25, "faster": 39, "fast": 50, "medium": 51, "slow": 78,
        "slower": 170,
    },
    "hevc": {
        "ultrafast": 46, "superfast": 79, "veryfast": 91, "faster": 94, "fast": 110, "medium": 130, "slow": 390,
    },
    "av1": {"2": 540, "3": 300, "4": 120, "5": 97, "6": 78, "7": 68, "8": 42, "9": 34},
}  # fmt: skip
USUAL |= {
    f"cpu encode {codec} {preset}": (0.0, ns * 1e-9)
    for codec, presets in _ENCODING_NS.items()
    for preset, ns in presets.items()
}
# Bytes a pixel at some quality, found by the same command …
BYTES = {
    "h264": (0.015, 23), "hevc": (0.011, 22), "av1": (0.011, 30),
    "webp": (0.16, 80), "jpeg": (0.2, 80), "avif": (0.32, 85), "png": (2.0, 0),
}  # fmt: skip
# … and the steps of quality that double them.
QUALITY_STEP = {"h264": -6.0, "hevc": -6.0, "av1": -10.0, "webp": 20.0, "jpeg": 12.0, "avif": 20.0}

Sums = tuple[float, float, float]
"""Processes, units and the amount that they came to."""


@dataclass(frozen=True, slots=True)
class Reckoned:
    """An amount, and how much of it rests on what the farm measured of just such work."""

    amount: float = 0.0
    known: float = 0.0

    def __add__(self, other: "Reckoned") -> "Reckoned":
        return Reckoned(self.amount + other.amount, self.known + other.known)

    def __mul__(self, factor: float) -> "Reckoned":
        return Reckoned(self.amount * factor, self.known * factor)


class Rates:
    """What a farm measured, by (what, kind of node). Work that only a newer version does is left out."""

    def __init__(self, sums: Mapping[tuple[str, str], Sums]) -> None:
        sums = {key: one for key, one in sums.items() if _is_known(key[0])}
        self._own = {key: _factor([(key[0], one)]) for key, one in sums.items()}
        on_any: dict[str, list[tuple[str, Sums]]] = {}
        of_kind: dict[tuple[str, str], list[tuple[str, Sums]]] = {}
        for (what, node_kind), one in sums.items():
            on_any.setdefault(what, []).append((what, one))
            of_kind.setdefault((_group(what), node_kind), []).append((what, one))
        self._on_any = {what: _factor(rows) for what, rows in on_any.items()}
        self._of_kind = {key: _factor(rows) for key, rows in of_kind.items()}

    def of(self, load: Load, node_kind: str) -> Reckoned:
        """What `load` comes to on such a node.

        Work that the farm does not know there goes by what it took on other kinds of node, else by how the farm's
        machines differ from the table's in other work.
        """
        usually = usual(load.what, load.processes, load.units)
        factor = self._own.get((load.what, node_kind), self._on_any.get(load.what))
        if factor is not None:
            return Reckoned(usually * factor, usually * factor)
        # No table tells whether pictures go to a GPU.
        elsewhere = 0.0 if _group(load.what) == "gpu" else self._of_kind.get((_group(load.what), node_kind), 1.0)
        return Reckoned(usually * elsewhere)

    def total(self, group: str, loads: Iterable[Load], node_kind: str) -> Reckoned:
        """All `loads` of a group: cpu, gpu or bytes."""
        mine = (self.of(load, node_kind) for load in loads if _group(load.what) == group)
        return sum(mine, Reckoned())


def usual(what: str, processes: float, units: float) -> float:
    """What the table says: seconds or bytes."""
    known = next((USUAL[name] for name in _names(what) if name in USUAL), None)
    if known is None:
        return units * _bytes_a_pixel(*what.split()[1:])
    return processes * known[0] + units * known[1]


def _is_known(what: str) -> bool:
    try:
        usual(what, 1.0, 1.0)
    except (LookupError, ValueError, ArithmeticError, TypeError):
        return False
    return True


def _names(what: str) -> Iterable[str]:
    """`what` and all of its beginnings, the longest first."""
    words = what.split()
    return (" ".join(words[:count]) for count in range(len(words), 0, -1))


def _bytes_a_pixel(kind: str, *rest: str) -> float:
    if kind == "sound":  # as many as were asked for
        return 1.0
    known, at = BYTES[kind]  # every other kind of work is named in USUAL
    if kind not in QUALITY_STEP:
        return known
    return known * 2 ** ((float(rest[0].lstrip("crfq")) - at) / QUALITY_STEP[kind])


def _factor(rows: Iterable[tuple[str, Sums]]) -> float:
    """By which a farm differs from the table."""
    known = [(usual(what, processes, units), amount) for what, (processes, units, amount) in rows]
    expected = sum(usually for usually, _ in known)
    return sum(amount for _, amount in known) / expected if expected > 0 else 1.0


def _group(what: str) -> str:
    return what.partition(" ")[0]


def step_of(real: float, estimated: float) -> int | None:
    """How far an estimate was off, in steps; above 0 when it was too low. None when there is nothing to compare."""
    if real <= 0 or estimated <= 0:
        return None
    return max(-FAR, min(FAR, round(STEPS * math.log2(real / estimated))))


@dataclass(frozen=True, slots=True)
class Misses:
    """How far off the estimates of `jobs` jobs were: real by estimated."""

    jobs: float
    median: float  # the factor, up or down, that half of them stayed within
    low: float  # the lowest and highest tenth are left out
    high: float


def misses_of(steps: Mapping[int, float]) -> Misses | None:
    """Of jobs by their steps; None without any."""
    jobs = sum(steps.values())
    if jobs <= 0:
        return None
    sizes: dict[int, float] = {}
    for step, count in steps.items():
        sizes[abs(step)] = sizes.get(abs(step), 0.0) + count
    low, high = (_ratio(_quantile(steps, share)) for share in QUANTILES)
    return Misses(jobs, _ratio(_quantile(sizes, 0.5)), low, high)


def _quantile(steps: Mapping[int, float], share: float) -> int:
    wanted, so_far = share * sum(steps.values()), 0.0
    for step in sorted(steps):
        so_far += steps[step]
        if so_far >= wanted:
            return step
    return max(steps)


def _ratio(step: int) -> float:
    return float(2 ** (step / STEPS))
