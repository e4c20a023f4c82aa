"""How busy others keep this machine: a promise of so many seconds is not the farm's to keep while they have it."""

import math
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

SAMPLE_S = 2.0
MUCH = 0.25  # of the processors' time


@dataclass
class Outside:
    """Watched between `start` and `stop`; the farm's processes have `home` as their HOME, or descend from this one."""

    home: str
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    """From, to (Unix times), and the part of the processors' time."""
    _ours: dict[tuple[int, float], bool] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="outside", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def part(self, begins: float, ends: float) -> float:
        """The part of the processors' time that others had between two Unix times, 0 to 1."""
        inside = [(to - since, part) for since, to, part in self.samples if since < ends and to > begins]
        all_s = sum(seconds for seconds, _ in inside)
        return sum(seconds * part for seconds, part in inside) / all_s if inside else 0.0

    def are_few(self) -> bool:
        """Whether others left the farm enough all the time."""
        return self.part(0.0, math.inf) <= MUCH

    def _run(self) -> None:
        before, at = self._cpu_s(), time.time()
        while not self._stopped.wait(SAMPLE_S):
            now, now_at = self._cpu_s(), time.time()
            # One that came meanwhile has had all of its time since then; one that went is not seen any more.
            used_s = sum(cpu_s - before.get(key, 0.0) for key, cpu_s in now.items())
            self.samples.append((at, now_at, used_s / (now_at - at) / len(os.sched_getaffinity(0))))
            before, at = now, now_at

    def _cpu_s(self) -> dict[tuple[int, float], float]:
        """Processor seconds of every process of others, and what the machine below this one kept for itself."""
        children = {process.pid for process in psutil.Process().children(recursive=True)} | {os.getpid()}
        found = {(0, 0.0): getattr(psutil.cpu_times(), "steal", 0.0)}
        alive = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                key = (process.pid, process.create_time())
                alive[key] = self._ours.get(key) or process.pid in children or self._is_at_home(process)
                if not alive[key]:
                    times = process.cpu_times()
                    found[key] = times.user + times.system
        self._ours = alive
        return found

    def _is_at_home(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return process.environ().get("HOME") == self.home
        return False  # another user's
