"""Shares and limits: who gets how much of the farm."""

import asyncio

from fastapi import APIRouter

from cluster.policy import Policy
from serve.api.deps import Farm, Who
from serve.api.problem_docs import problems
from serve.auth import Caller
from serve.errors import Forbidden

router = APIRouter(prefix="/v1/policy", tags=["operations"])


@router.get("", operation_id="getPolicy", summary="The policy that holds", responses=problems(401, 403, 500, 503))
async def get_policy(farm: Farm, caller: Who) -> Policy:
    """Weights of the classes, shares and limits of the orgs."""
    _must_act_for_all(caller)
    return await asyncio.to_thread(farm.store.policy)


@router.put(
    "",
    operation_id="putPolicy",
    summary="Have another policy hold",
    responses=problems(400, 401, 403, 409, 413, 415, 422, 500, 503, 507),
)
async def put_policy(policy: Policy, farm: Farm, caller: Who) -> Policy:
    """Holds within seconds, for what waits too. `version` is that of the policy it was made from, or it is refused."""
    _must_act_for_all(caller)
    caller.must_write()
    return await asyncio.to_thread(farm.store.change_policy, policy)


def _must_act_for_all(caller: Caller) -> None:
    if caller.org is not None:
        raise Forbidden("this key acts for one org: the policy is every org's")
