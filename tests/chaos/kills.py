"""What is killed, and when: a schedule from a seed, and the finding of processes by what they are."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import psutil

from tests.chaos.farm import ChaosFarm
from tests.chaos.nodes import Node

# How many of each in sixty-two kills; every one occurs.
WEIGHTS = {
    "media process": 14,
    "Ray worker": 10,
    "dispatcher": 7,
    "Serve replica": 7,
    "image engine": 5,
    "prepared process": 5,
    "raylet": 4,
    "node": 3,
    "PostgreSQL": 3,
    "S3 server": 3,
    "head": 1,
}
AWAY_S = (0.5, 4.0)  # how long a server stays away
START_TRIES = 20
FIND_S = 8.0  # how long is waited for somebody to kill: media processes live for less than a second


@dataclass(frozen=True)
class Kill:
    """One kill that hit something."""

    kind: str
    at: float  # Unix time
    where: str
    processes: int
    in_hand: tuple[str, ...] = ()  # "chunk 0 of JOB": the steps that ran in what was killed


def schedule(seed: int) -> Iterator[str]:
    """Kinds without end, in an order that the seed decides, each as often as its weight says."""
    chosen = random.Random(seed)
    for _ in count():
        kinds = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
        chosen.shuffle(kinds)
        # Early, so that there is something left to do when the head is back.
        kinds.remove("head")
        kinds.insert(len(kinds) // 3, "head")
        yield from kinds


class Killer:
    """Kills by own process ids; `random` decides which of several."""

    def __init__(self, farm: ChaosFarm, seed: int) -> None:
        self._farm = farm
        self._random = random.Random(seed + 1)
        self._back: list[threading.Thread] = []
        self.kills: list[Kill] = []

    def kill(self, kind: str) -> Kill | None:
        """One of `kind`; None when there is none for a while."""
        servers: dict[str, Callable[[], None]] = {"PostgreSQL": self._postgres, "S3 server": self._seaweed}
        until = time.monotonic() + FIND_S
        while time.monotonic() < until:
            at = time.time()
            if kind in servers:
                self.wait()  # one that is away still would be started twice
                at = time.time()
                servers[kind]()
                done = Kill(kind, at, "", 1)
            elif kind in ("node", "head"):
                node = self._farm.head if kind == "head" else self._random.choice(self._farm.workers)
                done = Kill(kind, at, node.name, *self._everything(node))
            else:
                done = Kill(kind, *self._one(kind))
            if done.processes:
                self.kills.append(done)
                return done
            time.sleep(0.05)
        return None

    def wait(self) -> None:
        """Until all servers are back."""
        for thread in self._back:
            thread.join()

    def _one(self, kind: str) -> tuple[float, str, int, tuple[str, ...]]:
        nodes = list(self._farm.workers)
        if kind in ("dispatcher", "Serve replica"):
            nodes = [self._farm.head]
        self._random.shuffle(nodes)
        for node in nodes:
            there = list(node.processes())
            found = [process for process in there if is_a(kind, process)]
            if found:
                with suppress(psutil.Error):
                    chosen = self._random.choice(found)
                    steps = steps_of(there if kind == "raylet" else [chosen])
                    at = time.time()
                    chosen.kill()
                    return at, node.name, 1, steps
        return 0.0, "", 0, ()

    def _everything(self, node: Node) -> tuple[int, tuple[str, ...]]:
        """All at once, as when the power goes; its supervisor starts it again."""
        found = list(node.processes())
        steps = steps_of(found)
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        return len(found), steps

    def _postgres(self) -> None:
        self._farm.postgres.kill()
        self._later(self._farm.postgres.start)

    def _seaweed(self) -> None:
        self._farm.seaweed.kill()
        self._later(self._farm.seaweed.start)

    def _later(self, start: Callable[[], None]) -> None:
        away_s = self._random.uniform(*AWAY_S)

        def back() -> None:
            time.sleep(away_s)
            for _ in range(START_TRIES):  # PostgreSQL does not start while a child of the killed one lives
                with suppress(RuntimeError):
                    start()
                    return
                time.sleep(0.5)

        thread = threading.Thread(target=back)
        self._back.append(thread)
        thread.start()


def steps_of(processes: Iterable[psutil.Process]) -> tuple[str, ...]:
    """The steps that these processes do, or are done by: "chunk 0 of JOB"."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            worker = process.parent() if is_a("media process", process) else process
            if worker is not None and is_a("Ray worker", worker):
                found.append(_title(worker).removeprefix("ray::"))
    return tuple(dict.fromkeys(found))


def _title(process: psutil.Process) -> str:
    words = process.cmdline()
    return words[0].strip() if words else process.name()


def is_a(kind: str, process: psutil.Process) -> bool:
    """Whether the process is one of `kind`."""
    try:
        name, words, title = process.name(), process.cmdline(), _title(process)
    except psutil.Error:
        return False
    pipelines = words[-1] if "pipelines" in words else ""
    return {
        "media process": pipelines not in ("", "images"),
        "prepared process": pipelines == "images",
        "Ray worker": title.startswith("ray::") and " of " in title,
        "image engine": title.startswith("ray::EngineActor"),
        "dispatcher": title.startswith("ray::DispatcherService"),
        "Serve replica": title.startswith("ray::ServeReplica"),
        "raylet": name == "raylet",
    }[kind]
