"""What the dispatcher does beside its jobs, until cancelled: it follows nodes, policy, autoscaler, history."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

from cluster.errors import InfraError
from cluster.job import Runner
from cluster.jobs import JobStore
from cluster.nodes import Node
from cluster.slots import Slots

log = logging.getLogger(__name__)

NODES_EVERY_S = 0.5  # a look takes 1 to 9 ms; work that was lost with a node waits for it
POLICY_EVERY_S = 2.0
HISTORY_EVERY_S = 3.0  # a few hundred jobs are one write
# The autoscaler counts what is submitted, and that is never more than there are slots: it is told what waits.
DEMAND_EVERY_S = 10.0
# Lanes, or twice those that there are, where that is more: what is asked for is laid out on nodes one by one, and a
# queue of a hundred thousand jobs is no reason to lay out more than a cluster may grow to until it is asked again.
LEAST_CAP = 512


class ClusterRunner(Runner, Protocol):
    """A runner of steps on nodes that come and go."""

    def nodes(self) -> list[Node]:
        """The nodes that steps may run on now; may take long to find out while the cluster's head is away."""
        ...

    def keep_ready(self, nodes: list[Node]) -> None:
        """Have what takes long to start stand ready on them."""
        ...


async def follow_nodes(runner: ClusterRunner, slots: Slots, nudge: Callable[[], None]) -> None:
    """Know the nodes. Not in the dispatcher's tick: a head that is away answers late, and leases would run out."""
    while True:
        try:
            had = slots.capacity
            nodes = await asyncio.to_thread(runner.nodes)
            runner.keep_ready(nodes)
            slots.follow(nodes)
            if slots.capacity > had:
                nudge()
        except Exception:  # Ray raises many kinds here; the nodes that were known still are
            log.warning("the nodes of the cluster are not known", exc_info=True)
        await asyncio.sleep(NODES_EVERY_S)


async def obey_policies(store: JobStore, slots: Slots) -> None:
    """Share by the policy that the store has."""
    while True:
        try:
            slots.obey(await asyncio.to_thread(store.policy))
        except InfraError as error:  # the policy that was known still holds
            log.warning("the policy is not known: %s: %s", error.code, error.public_message)
        except Exception:  # one that a newer program wrote, say
            log.exception("the policy cannot be obeyed; the last one holds")
        await asyncio.sleep(POLICY_EVERY_S)


async def ask_for_nodes(store: JobStore, slots: Slots, ask_for: Callable[[int], None]) -> None:
    """Tell the autoscaler how many lanes would be busy if there were enough of them: a picture fills little of one."""
    while True:
        try:
            most = max(LEAST_CAP, 2 * slots.capacity)
            queued = await asyncio.to_thread(store.queued_weight, most)
            await asyncio.to_thread(ask_for, min(most, slots.demand + math.ceil(queued)))
        except InfraError as error:  # what was asked for last stands
            log.warning("the cluster is not resized: %s: %s", error.code, error.public_message)
        except Exception:
            log.exception("the cluster is not resized")
        await asyncio.sleep(DEMAND_EVERY_S)


async def keep_history(store: JobStore) -> None:
    """Have what ended jobs did added to what the farm knows of its work."""
    while True:
        try:
            while await asyncio.to_thread(store.fold_figures):
                pass
        except InfraError as error:  # they are kept until then
            log.warning("the farm does not learn: %s: %s", error.code, error.public_message)
        except Exception:  # figures that a newer program wrote, say
            log.exception("the farm does not learn")
        await asyncio.sleep(HISTORY_EVERY_S)
