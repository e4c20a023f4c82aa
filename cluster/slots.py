"""Which step runs next, and on which node: lanes are given by shares, then by age, where memory and disk suffice."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cluster.errors import NoRoom
from cluster.needs import Need
from cluster.nodes import Node
from cluster.policy import PRIORITIES, Policy
from cluster.rooms import HERE, Rooms
from cluster.shares import Account, Shares

KEEP_S = 0.05  # a job's next step is asked for within a few turns of the event loop
FIRST_GUESS_S = 10.0  # of a kind of step that was never seen; corrected by what it takes
ANYBODY = ""
# Small steps may go before a large one that no node has room for yet; after this long a node is emptied for it.
PASSED_OVER_S = 10.0
NO_ROOM_S = 60.0  # the one node that is large enough may be replaced just now


@dataclass(slots=True, eq=False)
class Turn:
    """A job, or a batch of pictures, as something that waits for lanes."""

    name: str
    org: str
    priority: str = "normal"
    age: float = 0.0  # time of creation in seconds: older goes first within an org's class
    homes: set[str] = field(default_factory=set)
    """Nodes that it has run on: they have its source at hand."""
    took_s: dict[str, float] = field(default_factory=dict)
    """By kind of step, what its last one took: the next is likely to take the same."""

    @property
    def account(self) -> Account:
        """Who pays."""
        return self.priority, self.org


@dataclass(slots=True, eq=False)
class Place:
    """A lane of a node, held while a step runs."""

    turn: Turn
    node: str
    need: Need
    kind: str
    account: Account
    charged_s: float
    began: float
    kept: bool = False

    def keep(self) -> None:
        """The job has a next step at once: it gets this lane before others could, but for older jobs of its account."""
        self.kept = True


@dataclass(slots=True, eq=False)
class _Waiter:
    need: Need
    kind: str
    place: asyncio.Future[Place]
    since: float


class Slots:
    """The lanes of the cluster, and who waits for them."""

    def __init__(self, capacity: int = 0, policy: Policy | None = None) -> None:
        """`capacity` lanes of this machine alone; the nodes of a cluster come by `follow`."""
        self._policy = policy or Policy()
        self._shares = Shares(self._policy)
        self._rooms = Rooms()
        self._waiting: dict[Account, dict[Turn, deque[_Waiter]]] = {}
        self._running: Counter[Account] = Counter()
        self._kept: dict[Turn, Place] = {}
        self._typical_s: dict[tuple[str, str], float] = {}  # by (org, kind of step)
        if capacity:
            self.follow([Node(HERE, "", capacity, 0, 0)])

    @property
    def capacity(self) -> int:
        """How many steps may run at once."""
        return self._rooms.lanes

    @property
    def running(self) -> int:
        """How many do."""
        return self._running.total()

    @property
    def demand(self) -> int:
        """How many steps run, or would if there were lanes."""
        return self.running + sum(
            not waiter.place.done() for turns in self._waiting.values() for queue in turns.values() for waiter in queue
        )

    @property
    def policy(self) -> Policy:
        """By which lanes are shared now."""
        return self._policy

    def follow(self, nodes: Iterable[Node]) -> None:
        """These are the nodes now; what runs on those that left or drain is left alone."""
        self._rooms.follow(nodes)
        self._serve()

    def obey(self, policy: Policy) -> None:
        """Share by `policy` from now on."""
        self._policy = policy
        self._shares.obey(policy)
        self._serve()

    def prioritise(self, turn: Turn, priority: str) -> None:
        """The job is of another class from now on; its running steps stay what they were."""
        queue = self._waiting.get(turn.account, {}).get(turn)
        if queue is None:
            turn.priority = priority
            return
        self._forget(turn)
        turn.priority = priority
        self._shares.arrive(turn.account)
        self._waiting.setdefault(turn.account, {})[turn] = queue
        self._serve()

    @asynccontextmanager
    async def taken(self, turn: Turn, kind: str, need: Need | None = None) -> AsyncIterator[Place]:
        """Hold a lane for a step of `kind`. NoRoom when no node could ever hold what it needs."""
        place = await self._place(turn, kind, need or Need())
        try:
            yield place
        finally:
            self._left(place)

    async def _place(self, turn: Turn, kind: str, need: Need) -> Place:
        kept = self._kept.pop(turn, None)
        if kept is not None:
            self._free(kept)
            if self._rooms.best(need, {kept.node}, None, only=kept.node) is not None:
                return self._begin(turn, kind, need, kept.node)
        self._shares.arrive(turn.account)
        waiter = _Waiter(need, kind, asyncio.get_running_loop().create_future(), _now())
        self._waiting.setdefault(turn.account, {}).setdefault(turn, deque()).append(waiter)
        self._serve()
        try:
            return await waiter.place
        except asyncio.CancelledError:
            if waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                place = waiter.place.result()
                self._shares.charge(place.account, -place.charged_s)
                self._free(place)
            self._rooms.forget(waiter)  # a node that was being emptied for it is everybody's again
            self._serve()
            raise

    def _left(self, place: Place) -> None:
        """The step ended: correct its charge, remember how long such steps take, let the next one in."""
        took_s = _now() - place.began
        self._shares.charge(place.account, took_s - place.charged_s)
        self._learn(place, took_s)
        place.turn.homes.add(place.node)
        if place.kept and not self._goes_first(place.turn) and place.turn not in self._kept:
            self._kept[place.turn] = place
            asyncio.get_running_loop().call_later(KEEP_S, self._give_up, place)
            return
        self._free(place)
        self._serve()

    def _goes_first(self, turn: Turn) -> bool:
        """Whether somebody waits for whom no lane should be kept: of a better class, or an older job of the account."""
        rank = PRIORITIES[turn.priority]
        return any(PRIORITIES[priority] < rank for priority, _ in self._waiting) or any(
            other.age < turn.age for other in self._waiting.get(turn.account, ())
        )

    def _learn(self, place: Place, took_s: float) -> None:
        """The next step like it is charged what this one took, until it is known better: the closer, the smoother."""
        place.turn.took_s[place.kind] = took_s
        for org in (place.turn.org, ANYBODY):
            typical_s = self._typical_s.setdefault((org, place.kind), took_s)
            self._typical_s[org, place.kind] = typical_s + (took_s - typical_s) / 8

    def _likely_s(self, turn: Turn, kind: str) -> float:
        known = (turn.took_s.get(kind), *(self._typical_s.get((org, kind)) for org in (turn.org, ANYBODY)))
        return next((likely_s for likely_s in known if likely_s is not None), FIRST_GUESS_S)

    def _give_up(self, place: Place) -> None:
        if self._kept.get(place.turn) is place:
            del self._kept[place.turn]
            self._free(place)
            self._serve()

    def _free(self, place: Place) -> None:
        self._rooms.give_back(place.need, place.node)
        self._running[place.account] -= 1
        if not self._running[place.account]:
            del self._running[place.account]
        self._leave(place.account)

    def _leave(self, account: Account) -> None:
        """Out of the shares, if it has nothing left to do."""
        if account not in self._waiting and account not in self._running:
            self._shares.leave(account)
            if not any(
                (name, account[1]) in self._waiting or (name, account[1]) in self._running for name in PRIORITIES
            ):
                for known in [known for known in self._typical_s if known[0] == account[1]]:
                    del self._typical_s[known]  # a farm serves many orgs in a year

    def _begin(self, turn: Turn, kind: str, need: Need, node: str) -> Place:
        lane_s = self._likely_s(turn, kind)
        self._shares.arrive(turn.account)
        self._shares.serve(turn.account, lane_s)
        self._rooms.take(need, node)
        self._running[turn.account] += 1
        return Place(turn, node, need, kind, turn.account, lane_s, _now())

    def _serve(self) -> None:
        """Give lanes away for as long as somebody who waits can use one."""
        while self._rooms.has_lane:
            found = {account: first for account in list(self._waiting) if (first := self._first(account)) is not None}
            if not found:
                return
            turn, waiter, node = found[self._shares.next(found.keys())]
            place = self._begin(turn, waiter.kind, waiter.need, node)
            self._drop(turn, waiter)
            waiter.place.set_result(place)

    def _first(self, account: Account) -> tuple[Turn, _Waiter, str] | None:
        """The oldest job of the account that has a step which fits somewhere now, that step, and the node."""
        limit = self._policy.of(account[1]).running_steps
        if limit is not None and sum(self._running[priority, account[1]] for priority in PRIORITIES) >= limit:
            for turn in list(self._waiting[account]):
                if (waiter := self._head(turn)) is not None:
                    self._rooms.forget(waiter)
            return None
        turns = self._waiting[account]
        for turn in sorted(turns, key=lambda turn: (turn.age, turn.name)) if len(turns) > 1 else list(turns):
            waiter = self._head(turn)
            if waiter is None:
                continue
            node = self._rooms.best(waiter.need, turn.homes, waiter)
            if node is not None:
                return turn, waiter, node
            self._passed_over(turn, waiter)
        return None

    def _head(self, turn: Turn) -> _Waiter | None:
        queue = self._waiting[turn.account][turn]
        while queue and queue[0].place.done():  # cancelled
            queue.popleft()
        if not queue:
            self._forget(turn)
            return None
        return queue[0]

    def _passed_over(self, turn: Turn, waiter: _Waiter) -> None:
        """There is no room for it now."""
        waited_s = _now() - waiter.since
        if self._rooms.never(waiter.need) and waited_s > NO_ROOM_S:
            self._drop(turn, waiter)
            message = (
                f"no node has room for a step that needs {waiter.need.text}; the largest has {self._rooms.largest}"
            )
            waiter.place.set_exception(NoRoom(message))
        elif waited_s > PASSED_OVER_S:
            self._rooms.keep_for(waiter, waiter.need)

    def _drop(self, turn: Turn, waiter: _Waiter) -> None:
        self._waiting[turn.account][turn].remove(waiter)
        self._rooms.forget(waiter)
        if not self._waiting[turn.account][turn]:
            self._forget(turn)

    def _forget(self, turn: Turn) -> None:
        account = turn.account
        del self._waiting[account][turn]
        if not self._waiting[account]:
            del self._waiting[account]
            self._leave(account)


def _now() -> float:
    return asyncio.get_running_loop().time()
