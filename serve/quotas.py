"""What an org may hand over: its limits of the policy, held against what it has, on the accept path."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.jobs import JobStore
from cluster.policy import OrgPolicy, Policy
from serve.errors import LimitReached

# Counting an org's jobs costs a query; in between this process counts what it accepts itself. Several replicas may
# together accept so many seconds' worth too much, which a limit per day or in thousands does not feel.
FRESH_S = 2.0
QUEUE_RETRY_S = 15
BYTES_RETRY_S = 900


@dataclass(slots=True)
class _Counted:
    at: float
    queued_jobs: int
    bytes_a_day: int


type GiveBack = Callable[[], None]


def _nothing() -> None:
    pass


class Quotas:
    """The limits of all orgs; costs nothing where there are none but a look at the policy every two seconds."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._policy = Policy()
        self._policy_at = -FRESH_S
        self._counted: dict[str, _Counted] = {}

    def limit(self, org: str) -> bool:
        """Whether `org` has limits of what is counted here."""
        limits = self._limits_of(org)
        return limits.queued_jobs is not None or limits.bytes_a_day is not None

    def take(self, org: str, source_bytes: int) -> GiveBack:
        """Count one more job of `org` with such a source; LimitReached when that is too much.

        To be given back when no new job has come of it.
        """
        limits = self._limits_of(org)
        if limits.queued_jobs is None and limits.bytes_a_day is None:
            return _nothing
        counted = self._count(org)
        with self._lock:
            if limits.queued_jobs is not None and counted.queued_jobs >= limits.queued_jobs:
                raise LimitReached(
                    f"{org} has {counted.queued_jobs} jobs that have not ended, and may have {limits.queued_jobs}",
                    retry_after_s=QUEUE_RETRY_S,
                )
            if limits.bytes_a_day is not None and counted.bytes_a_day + source_bytes > limits.bytes_a_day:
                raise LimitReached(
                    f"with this source {org} would have handed over more than {limits.bytes_a_day} bytes in 24 hours",
                    retry_after_s=BYTES_RETRY_S,
                )
        return self._taken(counted, source_bytes)

    def _taken(self, counted: _Counted, source_bytes: int) -> GiveBack:
        def add(jobs: int) -> None:
            with self._lock:
                counted.queued_jobs += jobs
                counted.bytes_a_day += jobs * source_bytes

        add(1)
        return lambda: add(-1)  # from this very count: a newer one has not seen the job

    def _limits_of(self, org: str) -> OrgPolicy:
        now = time.monotonic()
        with self._lock:
            is_stale = now - self._policy_at >= FRESH_S
            if is_stale:  # the others go on with what is known
                self._policy_at = now
        if is_stale:
            self._policy = self._store.policy()
        return self._policy.of(org)

    def _count(self, org: str) -> _Counted:
        now = time.monotonic()
        with self._lock:
            counted = self._counted.get(org)
            if counted is not None and now - counted.at < FRESH_S:
                return counted
            if counted is not None:
                counted.at = now  # the others go on with what is known
        usage = self._store.usage(org)
        with self._lock:
            counted = self._counted[org] = _Counted(now, usage.queued_jobs, usage.bytes_a_day)
        return counted
