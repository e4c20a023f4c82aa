"""How often chunks were begun and ended, and which of that a kill excuses."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.chaos.front import Front
from tests.chaos.kills import Kill

Chunk = tuple[str, str]  # the job, and the chunk's bytes of its frame map
EVERYBODYS = {"dispatcher", "head", "PostgreSQL", "S3 server"}
DELAYING = EVERYBODYS | {"node", "raylet"}  # each holds up what others have lost
# For how long a kill may still cost what begins after it: a server stays away, a head's workers are ended with it, and
# those of a raylet were seen to outlive it by three seconds and to be given steps meanwhile.
OVER_S = {"head": 20.0, "PostgreSQL": 5.0, "S3 server": 5.0, "raylet": 5.0, "node": 5.0}
_STEP = re.compile(r"chunk (\d+) of (\S+)")


def over_s(kill: Kill) -> float:
    """For how long the kill is still felt."""
    return OVER_S.get(kill.kind, 2.0)


@dataclass(frozen=True)
class Loss:
    """In this span of Unix time chunks were lost in flight: these and those begun in it, or any."""

    begins: float
    ends: float
    chunks: frozenset[Chunk] | None
    takes_new: bool = False

    def takes(self, chunk: Chunk, begun: float) -> bool:
        """Whether `chunk`, begun then, may be lost with it."""
        if begun > self.ends:
            return False
        return self.chunks is None or chunk in self.chunks or (self.takes_new and begun >= self.begins)

    def excuses(self, chunk: Chunk, begun: float, again: float) -> bool:
        """Whether it may be why `chunk`, begun once, was begun again."""
        return self.begins <= again and self.takes(chunk, begun)


def losses(kills: Iterable[Kill], cuts: Mapping[str, Sequence[str]]) -> list[Loss]:
    """What each kill may have cost: the steps that ran in it; any step, where what it takes away is everybody's."""
    return [
        Loss(
            kill.at,
            kill.at + over_s(kill),
            None if kill.kind in EVERYBODYS else frozenset(in_hand(cuts, kill.in_hand)),
            takes_new=kill.kind in ("node", "raylet"),
        )
        for kill in kills
    ]


def counted(front: Front, lost: Sequence[Loss] | None = None) -> dict[str, Any]:
    """How often chunks were begun and ended, by what was asked of storage.

    One that was begun again was lost in flight, unless all its renditions were stored by then or no loss excuses it;
    each loss excuses a chunk once. Without `lost` anything may have been lost at any time.
    """
    begun, ended = front.begun(), front.ended()
    done_at: dict[Chunk, float] = {}
    for (job, span, _), all_at in ended.items():
        done_at[job, span] = max(done_at.get((job, span), -math.inf), all_at[0])
    redone = [(chunk, once, again) for chunk, times in begun.items() for once, again in pairwise(times)]
    left = {(loss, chunk) for chunk in begun for loss in lost or ()}
    unexplained = []
    for chunk, once, again in redone:
        why = next((loss for loss in lost or () if (loss, chunk) in left and loss.excuses(chunk, once, again)), None)
        if again > done_at.get(chunk, math.inf) or (lost is not None and why is None):
            unexplained.append((*chunk, once, again, done_at.get(chunk)))
        elif why is not None:
            left.remove((why, chunk))
    return {
        "encoded": len(begun),
        "redone": len(redone),
        "in flight on what was killed": sum(
            loss.begins < done_at.get(chunk, -math.inf) and loss.takes(chunk, times[0])
            for chunk, times in begun.items()
            for loss in lost or ()
        ),
        "finished ones encoded again": sum(len(times) - 1 for times in ended.values()),
        "unexplained": unexplained,  # job, bytes of the frame map, begun, begun again, stored; Unix times
    }


def cuts_of(begun: Iterable[Chunk]) -> dict[str, list[str]]:
    """By job: its chunks in the order of its plan, where each of them was begun."""
    found: dict[str, list[str]] = {}
    for job, span in begun:
        found.setdefault(job, []).append(span)
    return {job: sorted(spans, key=lambda span: int(span.partition("-")[0])) for job, spans in found.items()}


def in_hand(cuts: Mapping[str, Sequence[str]], steps: Iterable[str]) -> set[Chunk]:
    """The chunks that `steps` ("chunk 0 of JOB") are, by the cuts of their jobs' plans."""
    matches = [match for step in steps if (match := _STEP.fullmatch(step)) is not None]
    return {(match[2], cuts[match[2]][int(match[1])]) for match in matches if match[2] in cuts}
