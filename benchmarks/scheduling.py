"""What the dispatcher's order of work is worth, on a simulated cluster of 200 lanes: busy lanes, waits, shares.

The real order (cluster.slots, cluster.claims, cluster.job) with a runner that sleeps for as long as such chunks were
measured to take, in virtual time. The store and Ray are left out: `dispatch` measures those.
"""

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import virtual_time
from cluster.claims import wanted
from cluster.images.batches import Told
from cluster.job import JobRun, OnStep
from cluster.nodes import Node
from cluster.policy import Policy
from cluster.slots import Slots, Turn
from cluster.work import Step, Work

NODES, LANES = 25, 8
SEED = 1
TICK_S = 0.4
# CPU seconds of one chunk of about 10 s, of the ladders that a recipe gave for such sources, and the share of such jobs
# among them: `standard` of 720p, 1080p and 2160p, and `preview`. Recorded with `python -m benchmarks ladder`, spread by
# as much as chunks of one clip differed.
CHUNK_S = {"preview": (9.0, 0.30), "720p": (22.0, 0.40), "1080p": (48.0, 0.25), "2160p": (190.0, 0.05)}
SPREAD = 0.35
OTHER_STEPS_S = {"inspect": 1.0, "audio": 4.0, "finish": 5.0}
MEMORY_BYTES = {"preview": 300_000_000, "720p": 400_000_000, "1080p": 560_000_000, "2160p": 1_950_000_000}


@dataclass(slots=True)
class Asked:
    """A job of the simulation."""

    name: str
    org: str
    priority: str
    ladder: str
    chunks: int
    at_s: float = 0.0
    first_chunk_s: float | None = None


@dataclass(slots=True)
class Cluster:
    """Nodes that sleep instead of encoding, and what they did."""

    jobs: list[Asked]
    slots: Slots
    dice: random.Random
    spans: list[tuple[float, float, str]] = field(default_factory=list)  # began, ended, org
    held: dict[str, Asked] = field(default_factory=dict)

    async def is_picture(self, work: Work) -> bool:
        return False

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        raise AssertionError("no pictures here")

    async def cancel_image(self, job_id: str) -> None:
        raise AssertionError("no pictures here")

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        """Take as long as such a step takes."""
        job, began = self.held[work.job_id], time.monotonic()
        if step.kind == "chunk":
            if job.first_chunk_s is None:
                job.first_chunk_s = began
            await asyncio.sleep(CHUNK_S[job.ladder][0] * self.dice.lognormvariate(0, SPREAD))
        else:
            await asyncio.sleep(OTHER_STEPS_S[step.kind])
        self.spans.append((began, time.monotonic(), job.org))
        return self._answer(job, step)

    def _answer(self, job: Asked, step: Step) -> dict[str, Any]:
        if step.kind == "inspect":
            needs = {"chunk": {"memory_bytes": MEMORY_BYTES[job.ladder], "scratch_bytes": 50_000_000}}
            return {
                "frames": job.chunks * 250,
                "renditions": [job.ladder],
                "chunk_frames": [250] * job.chunks,
                "audio_tracks": ["und-128k"],
                "needs": needs,
                "reused": [],
            }
        return {"manifest_key": "k", "revision": "r", "report": {}}

    async def drive(self, until_s: float = math.inf) -> None:
        """Claim and run jobs, oldest first within an org and class, to the end or until that second."""
        coming = deque(sorted(self.jobs, key=lambda job: job.at_s))
        waiting: dict[tuple[str, str], deque[Asked]] = {}
        running: set[asyncio.Task[None]] = set()
        while (coming or waiting or running) and time.monotonic() < until_s:
            while coming and coming[0].at_s <= time.monotonic():
                job = coming.popleft()
                waiting.setdefault((job.priority, job.org), deque()).append(job)
            held: Counter[tuple[str, str]] = Counter((job.priority, job.org) for job in self.held.values())
            for account, count in wanted(self.slots.policy, self.slots.capacity, held, waiting).items():
                for _ in range(min(count, len(waiting[account]))):
                    running.add(self._begin(waiting[account].popleft()))
                if not waiting[account]:
                    del waiting[account]
            await asyncio.sleep(TICK_S)
            for task in [task for task in running if task.done()]:
                running.remove(task)
                task.result()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _begin(self, job: Asked) -> asyncio.Task[None]:
        self.held[job.name] = job
        return asyncio.create_task(self._job(job))

    async def _job(self, job: Asked) -> None:
        turn = Turn(job.name, job.org, job.priority, job.at_s)
        await JobRun(_work(job), self, self.slots, turn=turn).run()
        del self.held[job.name]


def _work(job: Asked) -> Work:
    return Work(
        job_id=job.name, org=job.org, media_id=job.name, source_uri="", source_etag="", recipe={}, recipe_digest="",
        kind="video", output_uri="", scratch_uri="", publish_prefix=None, slots=NODES * LANES,
    )  # fmt: skip


def _cluster(jobs: list[Asked]) -> Cluster:
    slots = Slots(policy=Policy())
    # c7i.8xlarge would have 16 lanes and 64 GB; half of it.
    slots.follow([Node(f"n{number}", "", LANES, 32_000_000_000, 0) for number in range(NODES)])
    return Cluster(jobs, slots, random.Random(SEED))


def simulate(chunks: int) -> dict[str, Any]:
    """All figures of the simulated cluster."""
    return {
        "lanes": NODES * LANES,
        "mixed": _mixed(chunks),
        "interactive beside bulk": _interactive(),
        "two orgs": _two_orgs(),
    }


def _mixed(chunks: int) -> dict[str, Any]:
    """Jobs of all kinds, queued at once: how busy the lanes are until there is too little left to fill them."""
    dice = random.Random(SEED)
    jobs: list[Asked] = []
    ladders, weights = list(CHUNK_S), [share for _, share in CHUNK_S.values()]
    while sum(job.chunks for job in jobs) < chunks:
        (ladder,) = dice.choices(ladders, weights)
        length = max(1, round(dice.lognormvariate(1.5, 1.2)))  # chunks: half have four or fewer, a few have a hundred
        priority = dice.choice(["interactive", "normal", "bulk", "bulk"])
        jobs.append(Asked(f"j{len(jobs)}", f"org{dice.randrange(5)}", priority, ladder, length))
    cluster = _cluster(jobs)
    began = time.perf_counter()
    virtual_time.run(cluster.drive())
    cpu_s = time.perf_counter() - began
    last_start = max(start for start, _, _ in cluster.spans)
    lanes = NODES * LANES
    # Until the lanes cannot be filled any more because less than that is left.
    starts = sorted(start for start, _, _ in cluster.spans)
    full_until = starts[-lanes]
    busy_s = sum(min(end, full_until) - start for start, end, _ in cluster.spans if start < full_until)
    return {
        "jobs": len(jobs),
        "chunks": sum(job.chunks for job in jobs),
        "virtual_s": round(last_start),
        "lanes_busy": round(busy_s / (lanes * full_until), 4),
        "ms_per_step": round(1000 * cpu_s / len(cluster.spans), 3),
    }


def _interactive() -> dict[str, Any]:
    """One-chunk interactive jobs that come while bulk fills every lane: how long until their chunk begins."""
    bulk = [Asked(f"b{number}", "catalogue", "bulk", "1080p", 40) for number in range(60)]
    urgent = [Asked(f"u{n}", "uploads", "interactive", "720p", 1, at_s=300.0 + 7.0 * n) for n in range(60)]
    cluster = _cluster(bulk + urgent)
    virtual_time.run(cluster.drive(until_s=1200))
    waits = sorted(job.first_chunk_s - job.at_s for job in urgent if job.first_chunk_s is not None)
    return {
        "bulk_chunk_s": CHUNK_S["1080p"][0],
        "started": len(waits),
        "p50_s": round(waits[len(waits) // 2], 2),
        "max_s": round(waits[-1], 2),
    }


def _two_orgs() -> dict[str, Any]:
    """Two orgs of equal weight, one with long chunks and one with short ones: the worst minute's share."""
    jobs = [Asked(f"a{number}", "a", "bulk", "1080p", 20) for number in range(200)]
    jobs += [Asked(f"b{number}", "b", "bulk", "preview", 4) for number in range(6000)]
    cluster = _cluster(jobs)
    virtual_time.run(cluster.drive(until_s=900))
    worst = 0.0
    for minute in range(5, 14):
        begin, end = 60.0 * minute, 60.0 * (minute + 1)
        used = {"a": 0.0, "b": 0.0}
        for start, stop, org in cluster.spans:
            used[org] += max(0.0, min(stop, end) - max(start, begin))
        worst = max(worst, abs(used["a"] / (used["a"] + used["b"]) - 0.5) / 0.5)
    return {"worst_minute_off_by": round(worst, 4)}
