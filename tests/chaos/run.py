"""One run: every input once in peace, then again and again while things are killed, and the judgement."""

import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from cluster.errors import StoreUnavailable
from cluster.jobs.model import ENDED, JobStatus
from tests.chaos.batches import make_manifest
from tests.chaos.farm import ChaosFarm
from tests.chaos.kills import Killer, schedule
from tests.chaos.load import ORGS, Accepted, AcceptedBatch, Client, Input, make_inputs
from tests.chaos.outside import Outside

CLIP_FEEDERS, PICTURE_FEEDERS = 4, 2
PICTURE_PAUSE_S = 1.5  # pictures are turned at once: without a pause they would be thousands
BATCH_PAUSE_S = 2.0  # between the end of a batch and the next: its results and their mark are killed at more than once
KNOCKS_S = 0.4  # between two looks at whether the intake answers
CALM_S = 180.0
END_S = 300.0  # of all jobs, once nothing is killed any more


@dataclass(frozen=True)
class Wish:
    """How much is to be broken: so many kills and jobs, within `most_s`; or, with `for_s`, for so long."""

    seed: int
    kills: int = 62
    jobs: int = 100
    most_s: float = 540.0
    for_s: float | None = None
    pause_s: tuple[float, float] = (2.0, 6.5)


@dataclass
class Run:
    """What happened."""

    wish: Wish
    client: Client
    killer: Killer
    outside: Outside
    manifest: str
    calm: dict[Input, Accepted]
    calm_batch: AcceptedBatch
    calm_s: float
    broken_from: float = 0.0  # Unix time
    broken_s: float = 0.0
    settled_s: float = 0.0


def run(farm: ChaosFarm, wish: Wish) -> Run:
    """Break the farm as `wish` says, and wait until every job and batch has ended, or END_S."""
    clips, pictures = make_inputs(farm)
    made = _in_peace(farm, wish, clips, pictures)
    farm.supervise()
    made.outside.start()
    made.broken_from, began = time.time(), time.monotonic()
    _break(farm, made, clips, pictures)
    made.broken_s, began = time.monotonic() - began, time.monotonic()
    _wait_for(farm, made.client.accepted, made.client.batches, END_S)
    made.settled_s = time.monotonic() - began
    made.outside.stop()
    return made


def _in_peace(farm: ChaosFarm, wish: Wish, clips: list[Input], pictures: list[Input]) -> Run:
    began, calm, jobs = time.monotonic(), Client(farm), {}
    for number, given in enumerate((*clips, *pictures)):
        accepted = calm.complete(f"calm-{number}", "acme", given)
        assert accepted is not None, calm.answers
        jobs[given] = accepted
    manifest, expected = make_manifest(farm, clips, pictures)
    batch = calm.batch("peace", manifest)
    assert batch is not None, calm.answers
    _wait_for(farm, list(jobs.values()), [batch], CALM_S)
    for given, job in jobs.items():
        status = farm.store.get(job.job_id).status
        assert status is (JobStatus.FAILED if given.is_bad else JobStatus.READY), f"{given.source}: {status}"
    found = farm.store.batches.get(batch.batch_id)
    assert {name: getattr(found, name) for name in expected} == expected, found
    outside = Outside(farm.environment["HOME"])
    calm_s = time.monotonic() - began
    return Run(wish, Client(farm), Killer(farm, wish.seed), outside, manifest, jobs, batch, calm_s)


def _break(farm: ChaosFarm, made: Run, clips: list[Input], pictures: list[Input]) -> None:
    client, killer, wish = made.client, made.killer, made.wish
    stopped = threading.Event()

    def feed(number: int) -> None:
        """Hand one over, wait for its end, hand over the next."""
        chosen = random.Random(wish.seed * 1000 + number)
        inputs, pause_s = (clips, 0.1) if number < CLIP_FEEDERS else (pictures, PICTURE_PAUSE_S)
        count = 0
        while not stopped.wait(pause_s):
            count += 1
            job = client.complete(f"item-{number}-{count}", chosen.choice(ORGS), chosen.choice(inputs))
            while job is not None and not stopped.wait(0.3) and not _has_ended(farm, job):
                pass

    def feed_batches() -> None:
        """The same of batches: each for an org of its own, so that nothing of it is there already."""
        count = 0
        while not stopped.wait(BATCH_PAUSE_S):
            count += 1
            batch = client.batch(f"batch-{count}", made.manifest)
            while batch is not None and not stopped.wait(0.3) and not _has_ended(farm, batch):
                pass

    def knock() -> None:
        """Hand the same upload over again and again: the intake must give the same job, or say that it cannot now."""
        while not stopped.wait(KNOCKS_S):
            client.knock("item-knock", "acme", pictures[0])

    feeders = [threading.Thread(target=feed, args=(number,)) for number in range(CLIP_FEEDERS + PICTURE_FEEDERS)]
    feeders += [threading.Thread(target=feed_batches), threading.Thread(target=knock)]
    for feeder in feeders:
        feeder.start()
    pauses = random.Random(wish.seed + 2)
    until = time.monotonic() + (wish.for_s or wish.most_s)
    for kind in schedule(wish.seed):
        time.sleep(pauses.uniform(*wish.pause_s))
        killer.kill(kind)
        enough = len(killer.kills) >= wish.kills and len(client.accepted) >= wish.jobs
        if (enough and wish.for_s is None) or time.monotonic() > until:
            break
    stopped.set()
    for feeder in feeders:
        feeder.join()
    killer.wait()


def _has_ended(farm: ChaosFarm, one: Accepted | AcceptedBatch) -> bool:
    with suppress(StoreUnavailable):
        if isinstance(one, AcceptedBatch):
            return farm.store.batches.get(one.batch_id).finished_at is not None
        return farm.store.get(one.job_id).status in ENDED
    return False


def _wait_for(farm: ChaosFarm, jobs: list[Accepted], batches: list[AcceptedBatch], limit_s: float) -> None:
    until = time.monotonic() + limit_s
    waiting: list[Accepted | AcceptedBatch] = [*jobs, *batches]
    while waiting and time.monotonic() < until:
        waiting = [one for one in waiting if not _has_ended(farm, one)]
        time.sleep(0.2)
