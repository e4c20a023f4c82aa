"""One run: every input once in peace, then again and again while things are killed, and the judgement."""

import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from cluster.errors import StoreUnavailable
from cluster.jobs.model import ENDED
from tests.chaos.farm import ChaosFarm
from tests.chaos.kills import Killer, schedule
from tests.chaos.load import ORGS, Accepted, Client, Input, make_inputs

CLIP_FEEDERS, PICTURE_FEEDERS = 4, 2
PICTURE_PAUSE_S = 1.5  # pictures are turned at once: without a pause they would be thousands
KNOCKS_S = 0.4  # between two looks at whether the intake answers
CALM_S = 180.0
END_S = 300.0  # of all jobs, once nothing is killed any more


@dataclass(frozen=True)
class Wish:
    """How much is to be broken; whichever of kills and jobs comes last, and never longer than `most_s`."""

    seed: int
    kills: int = 62
    jobs: int = 100
    most_s: float = 540.0
    pause_s: tuple[float, float] = (2.0, 6.5)


@dataclass
class Run:
    """What happened."""

    wish: Wish
    calm: dict[Input, Accepted] = field(default_factory=dict)
    calm_s: float = 0.0
    client: Client | None = None
    killer: Killer | None = None
    broken_from: float = 0.0  # Unix time
    broken_s: float = 0.0
    settled_s: float = 0.0


def run(farm: ChaosFarm, wish: Wish) -> Run:
    """Break the farm as `wish` says, and wait until every job has ended, or END_S."""
    clips, pictures = make_inputs(farm)
    calm = Client(farm)
    made = Run(wish, client=Client(farm), killer=Killer(farm, wish.seed))
    began = time.monotonic()
    for number, given in enumerate((*clips, *pictures)):
        accepted = calm.complete(f"calm-{number}", "acme", given)
        assert accepted is not None, calm.answers
        made.calm[given] = accepted
    _wait_for(farm, list(made.calm.values()), CALM_S)
    made.calm_s = time.monotonic() - began
    farm.supervise()
    made.broken_from, began = time.time(), time.monotonic()
    _break(farm, made, clips, pictures)
    made.broken_s, began = time.monotonic() - began, time.monotonic()
    _wait_for(farm, made.client.accepted if made.client else [], END_S)
    made.settled_s = time.monotonic() - began
    return made


def _break(farm: ChaosFarm, made: Run, clips: list[Input], pictures: list[Input]) -> None:
    client, killer, wish = made.client, made.killer, made.wish
    assert client is not None
    assert killer is not None
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

    def knock() -> None:
        """Hand the same upload over again and again: the intake must give the same job, or say that it cannot now."""
        while not stopped.wait(KNOCKS_S):
            client.knock("item-knock", "acme", pictures[0])

    feeders = [threading.Thread(target=feed, args=(number,)) for number in range(CLIP_FEEDERS + PICTURE_FEEDERS)]
    feeders.append(threading.Thread(target=knock))
    for feeder in feeders:
        feeder.start()
    pauses = random.Random(wish.seed + 2)
    until = time.monotonic() + wish.most_s
    for kind in schedule(wish.seed):
        time.sleep(pauses.uniform(*wish.pause_s))
        killer.kill(kind)
        enough = len(killer.kills) >= wish.kills and len(client.accepted) >= wish.jobs
        if enough or time.monotonic() > until:
            break
    stopped.set()
    for feeder in feeders:
        feeder.join()
    killer.wait()


def _has_ended(farm: ChaosFarm, job: Accepted) -> bool:
    with suppress(StoreUnavailable):
        return farm.store.get(job.job_id).status in ENDED
    return False


def _wait_for(farm: ChaosFarm, jobs: list[Accepted], limit_s: float) -> None:
    until = time.monotonic() + limit_s
    open_jobs = list(jobs)
    while open_jobs and time.monotonic() < until:
        open_jobs = [job for job in open_jobs if not _has_ended(farm, job)]
        time.sleep(0.2)
