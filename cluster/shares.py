"""Whose turn it is: start-time fair queuing over classes, and over the orgs within each.

Every account has a virtual time that grows by lane seconds ÷ weight; whoever is furthest behind is served. An account
that had nothing to do starts from where the others are: idle time is no credit to starve them with.
(Goyal, Vin, Cheng: Start-time Fair Queuing, 1996.)

In a simulated hour of 200 lanes, all of them busy, orgs with chunks of 48 s and of 9 s were within 5 % of equal shares
in every minute from the sixth on (`python -m benchmarks scheduling`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from cluster.policy import PRIORITIES, Policy

Account = tuple[str, str]
"""(class, org)."""


@dataclass(slots=True)
class _Level:
    """Accounts that compete with each other."""

    used: dict[str, float] = field(default_factory=dict)  # virtual seconds of those that have something to do
    now: float = 0.0  # of whoever was served last

    def arrive(self, key: str) -> None:
        self.used.setdefault(key, self.now)

    def leave(self, key: str) -> None:
        # What it was ahead of the others is forgotten: it would have to come back within a step's time to profit.
        del self.used[key]

    def serve(self, key: str) -> None:
        self.now = self.used[key]


class Shares:
    """The accounts of all classes and orgs that have something to do."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._classes = _Level()
        self._orgs = {priority: _Level() for priority in PRIORITIES}

    def obey(self, policy: Policy) -> None:
        """Weigh what comes from now on by `policy`."""
        self._policy = policy

    def arrive(self, account: Account) -> None:
        """It has something to do; again is no error."""
        priority, org = account
        self._classes.arrive(priority)
        self._orgs[priority].arrive(org)

    def leave(self, account: Account) -> None:
        """It neither waits nor runs any more."""
        priority, org = account
        self._orgs[priority].leave(org)
        if not self._orgs[priority].used:
            self._classes.leave(priority)

    def next(self, waiting: Collection[Account]) -> Account:
        """Which of the accounts that wait (at least one) is owed most."""
        classes = self._classes.used
        priority = min({name for name, _ in waiting}, key=lambda name: (classes[name], PRIORITIES[name]))
        orgs = self._orgs[priority].used
        return priority, min((org for name, org in waiting if name == priority), key=lambda org: (orgs[org], org))

    def serve(self, account: Account, lane_s: float) -> None:
        """Its turn has come: something begins that is likely to take `lane_s`."""
        priority, org = account
        self._classes.serve(priority)
        self._orgs[priority].serve(org)
        self.charge(account, lane_s)

    def charge(self, account: Account, lane_s: float) -> None:
        """It took so much more (or, below 0, less) than it was charged."""
        priority, org = account
        self._classes.used[priority] += lane_s / self._policy.weight_of(priority)
        self._orgs[priority].used[org] += lane_s / self._policy.of(org).weight
