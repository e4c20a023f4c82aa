"""How long what a kill took away stood still."""

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.chunks import DELAYING, in_hand, over_s
from tests.chaos.front import Front
from tests.chaos.kills import Kill
from tests.chaos.outside import MUCH, Outside

REACH_S = {"dispatcher": 10.0, "node": 10.0, "raylet": 10.0, "head": 60.0}
ANOTHER = ", with another loss before it was"
BUSY = ", not judged: busy with what others do"


@dataclass(frozen=True)
class Wait:
    """From the loss, of a head from when it is back, until what was in hand is worked on again; Unix times."""

    kill: Kill
    begins: float
    ends: float

    def others(self, kills: Sequence[Kill]) -> list[Kill]:
        """Losses that held it up as well."""
        others = (other for other in kills if other is not self.kill and other.kind in DELAYING)
        return [other for other in others if other.at < self.ends and self.begins < other.at + over_s(other)]

    def over_s(self, others: Sequence[Kill]) -> float | None:
        """By how many seconds the reach was missed, counted from the last loss that held it up; None without a reach.

        Of several the longest reach is what was promised.
        """
        if self.kill.kind not in REACH_S:
            return None
        since = max((self.begins, *(other.at + over_s(other) for other in others)))
        return self.ends - since - max(REACH_S.get(one.kind, 0.0) for one in (self.kill, *others))


def waits(
    kills: Sequence[Kill],
    head_up_at: Sequence[float],
    starts: Sequence[float],
    front: Front,
    cuts: Mapping[str, Sequence[str]],
) -> Iterator[Wait]:
    """Of every kill that had something in hand; `starts` are Unix times at which a dispatcher began with a job."""
    begun = front.begun()
    for kill in kills:
        if kill.kind in ("dispatcher", "head"):
            up = kill.at if kill.kind == "dispatcher" else _first(head_up_at, kill.at)
            again = None if up is None else _first(starts, up)
            if up is not None and again is not None:
                yield Wait(kill, up, again)
        for chunk in in_hand(cuts, kill.in_hand):
            times = begun.get(chunk, [])
            again = _first(times, kill.at)
            if times and times[0] <= kill.at and again is not None:
                yield Wait(kill, kill.at, again)


def told(waited: Sequence[Wait], kills: Sequence[Kill], outside: Outside) -> dict[str, dict[str, Any]]:
    """Seconds by the kind of the kill; by themselves those with another loss meanwhile, which are judged from that one
    on, and those of a machine that others had, which are not judged.
    """
    found: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
    for wait in waited:
        others = wait.others(kills)
        kind, over = wait.kill.kind + ANOTHER * bool(others), wait.over_s(others)
        if outside.part(wait.begins, wait.ends) > MUCH:
            kind, over = kind + BUSY, None
        found[kind].append((wait.ends - wait.begins, over))
    return {kind: _summed(all_s) for kind, all_s in found.items()}


def _summed(waited: Sequence[tuple[float, float | None]]) -> dict[str, Any]:
    all_s, overs = [wait_s for wait_s, _ in waited], [over for _, over in waited if over is not None]
    return {
        "times": len(all_s),
        "median": round(statistics.median(all_s), 1),
        "most": round(max(all_s), 1),
        "over_s": round(max(overs), 1) if overs else None,
    }


def beyond_reach(resumed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The promises of so many seconds that were not kept."""
    return [
        f"after the loss of a {kind} work went on {figures['over_s']} s too late, {figures['most']} s after it at most"
        for kind, figures in resumed.items()
        if figures["over_s"] is not None and figures["over_s"] > 0
    ]


def was_judged(resumed: Mapping[str, Mapping[str, Any]], kind: str) -> bool:
    """Whether any time after the loss of a `kind` was held against its reach."""
    return any(name in (kind, kind + ANOTHER) for name in resumed)


def _first(times: Sequence[float], after: float) -> float | None:
    here = bisect_right(times, after)
    return times[here] if here < len(times) else None
