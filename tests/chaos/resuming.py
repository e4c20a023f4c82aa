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

    def told_as(self, kills: Sequence[Kill], outside: Outside) -> str:
        """The kind of the kill; by itself what a reach is not of: more than one loss, or a machine that others have."""
        others = (other for other in kills if other is not self.kill and other.kind in DELAYING)
        if any(other.at < self.ends and self.begins < other.at + over_s(other) for other in others):
            return self.kill.kind + ANOTHER
        return self.kill.kind + BUSY * (outside.part(self.begins, self.ends) > MUCH)


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
    """Seconds, by what they are told as."""
    found: dict[str, list[float]] = defaultdict(list)
    for wait in waited:
        found[wait.told_as(kills, outside)].append(wait.ends - wait.begins)
    return {
        kind: {"times": len(all_s), "median": round(statistics.median(all_s), 1), "most": round(max(all_s), 1)}
        for kind, all_s in found.items()
    }


def beyond_reach(resumed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The promises of so many seconds that were not kept."""
    return [
        f"after the loss of a {kind} it took {resumed[kind]['most']} s to resume, not {reach_s:.0f}"
        for kind, reach_s in REACH_S.items()
        if kind in resumed and resumed[kind]["most"] > reach_s
    ]


def _first(times: Sequence[float], after: float) -> float | None:
    here = bisect_right(times, after)
    return times[here] if here < len(times) else None
