"""How many jobs of which class and org the dispatcher should hold: enough to fill every lane, shared as lanes are."""

import math
import mimetypes
from collections.abc import Collection, Mapping

from cluster.policy import PRIORITIES, Policy
from cluster.shares import Account

SPARE = 2.0  # jobs beyond the lanes, so that one is at hand when another ends

# Of a job's slot: a batch of sixteen takes as long as a short chunk; no job weighs less. Four jobs at a look gave an
# engine four pictures at a time, and each a quarter of the 15 ms that their process takes to start.
PICTURE_WEIGHT = 1 / 16


def likely_weight(kind: str, source_uri: str) -> float:
    """How much of a slot a job is likely to fill, before anybody has looked at its source.

    A picture that is not known to be one is claimed for a whole slot, and then others beside it.
    """
    guess = mimetypes.guess_type(source_uri)[0] if kind == "auto" else None
    return PICTURE_WEIGHT if kind == "image" or (guess or "").startswith("image/") else 1.0


def wanted(
    policy: Policy, lanes: int, held: Mapping[Account, float], waiting: Collection[Account]
) -> dict[Account, int]:
    """How many jobs, of weight 1, to claim for each account that may have some; `held` are the weights of those held.

    Each class may hold as much as fills the farm, whatever the others hold: the lanes are shared when a step begins,
    and a class can only get its share of them if its jobs are there. Within a class every org may hold its share, and
    one job at least. What an org cannot use goes to the others.
    """
    claims: dict[Account, int] = {}
    if lanes < 1:
        return claims  # a lease would only keep others from the job
    for priority in PRIORITIES:
        mine = {account: weight for account, weight in held.items() if account[0] == priority}
        asking = [account for account in waiting if account[0] == priority]
        room = lanes + SPARE - sum(weight for account, weight in mine.items() if account not in asking)
        for account, share in _shares(policy, room, asking).items():
            count = math.floor(share - mine.get(account, 0.0) + 1e-9)
            if count > 0:
                claims[account] = count
    return claims


def _shares(policy: Policy, room: float, asking: Collection[Account]) -> dict[Account, float]:
    """Of `room` jobs, those that each account may hold: one at least, and no more than its org may run at once."""
    weights = sum(policy.of(org).weight for _, org in asking)
    most = {account: _most(policy, account[1]) for account in asking}
    bounded = {a: most[a] for a in asking if most[a] < room * policy.of(a[1]).weight / weights}
    left = room - sum(bounded.values())
    weights = sum(policy.of(org).weight for name, org in asking if (name, org) not in bounded)
    free = {a: left * policy.of(a[1]).weight / weights for a in asking if a not in bounded}
    return {account: max(1.0, share) for account, share in (bounded | free).items()}


def _most(policy: Policy, org: str) -> float:
    running_steps = policy.of(org).running_steps
    return math.inf if running_steps is None else running_steps + SPARE
