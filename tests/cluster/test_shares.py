"""Weighted shares of classes and orgs."""

from collections import Counter

from cluster.claims import wanted
from cluster.policy import Classes, OrgPolicy, Policy
from cluster.shares import Account, Shares


def served(shares: Shares, waiting: set[Account], turns: int, cost_s: float = 1.0) -> Counter[Account]:
    count: Counter[Account] = Counter()
    for account in waiting:
        shares.arrive(account)
    for _ in range(turns):
        account = shares.next(waiting)
        shares.serve(account, cost_s)
        count[account] += 1
    return count


def test_classes_share_by_weight_and_none_starves() -> None:
    shares = Shares(Policy(classes=Classes(interactive=6, normal=3, bulk=1)))
    count = served(shares, {("interactive", "a"), ("normal", "a"), ("bulk", "a")}, 100)
    assert count == {("interactive", "a"): 60, ("normal", "a"): 30, ("bulk", "a"): 10}


def test_orgs_of_equal_weight_share_equally_whatever_their_steps_cost() -> None:
    shares = Shares(Policy())
    spent: Counter[str] = Counter()
    for org in ("long", "short"):
        shares.arrive(("bulk", org))
    for _ in range(1000):
        account = shares.next({("bulk", "long"), ("bulk", "short")})
        cost_s = 30.0 if account[1] == "long" else 1.0
        shares.serve(account, 10.0)  # the guess
        shares.charge(account, cost_s - 10.0)
        spent[account[1]] += int(cost_s)
    assert 0.9 <= spent["long"] / spent["short"] <= 1.1


def test_an_org_of_twice_the_weight_gets_twice_as_much() -> None:
    shares = Shares(Policy(orgs={"big": OrgPolicy(weight=2)}))
    assert served(shares, {("normal", "big"), ("normal", "small")}, 90)["normal", "big"] == 60


def test_who_had_nothing_to_do_is_served_next_and_gets_no_arrears() -> None:
    shares = Shares(Policy())
    served(shares, {("bulk", "busy")}, 1000)
    shares.arrive(("bulk", "fresh"))
    assert shares.next({("bulk", "busy"), ("bulk", "fresh")}) == ("bulk", "fresh")
    count = served(shares, {("bulk", "busy"), ("bulk", "fresh")}, 100)
    assert 49 <= count["bulk", "fresh"] <= 51


def test_who_leaves_and_comes_back_is_as_new() -> None:
    shares = Shares(Policy())
    both: set[Account] = {("bulk", "a"), ("bulk", "b")}
    served(shares, both, 100)
    shares.leave(("bulk", "a"))
    served(shares, {("bulk", "b")}, 100)
    assert 49 <= served(shares, both, 100)["bulk", "a"] <= 51


def test_an_interactive_step_goes_before_a_class_that_has_worked_alone() -> None:
    shares = Shares(Policy())
    served(shares, {("bulk", "a")}, 1000)
    shares.arrive(("interactive", "a"))
    assert shares.next({("bulk", "a"), ("interactive", "a")}) == ("interactive", "a")


def test_a_new_policy_weighs_what_comes_after_it() -> None:
    shares = Shares(Policy())
    both: set[Account] = {("normal", "a"), ("normal", "b")}
    served(shares, both, 10)
    shares.obey(Policy(orgs={"a": OrgPolicy(weight=3)}))
    count = served(shares, both, 100)
    assert 74 <= count["normal", "a"] <= 76


def test_jobs_are_held_by_share_and_every_org_has_one() -> None:
    waiting = {("normal", f"org{number}") for number in range(20)}
    assert wanted(Policy(), 4, {}, waiting) == dict.fromkeys(waiting, 1)
    assert wanted(Policy(), 4, {}, {("bulk", "a"), ("bulk", "b")}) == {("bulk", "a"): 3, ("bulk", "b"): 3}
    assert wanted(Policy(), 4, {}, {("bulk", "a")}) == {("bulk", "a"): 6}


def test_who_holds_its_share_claims_no_more_and_a_class_leaves_the_others_their_room() -> None:
    held = {("bulk", "a"): 6.0}
    assert wanted(Policy(), 4, held, {("bulk", "a")}) == {}
    assert wanted(Policy(), 4, held, {("bulk", "a"), ("bulk", "b"), ("normal", "a")}) == {
        ("normal", "a"): 6,
        ("bulk", "b"): 3,
    }


def test_an_org_that_may_run_little_holds_little_and_leaves_the_rest() -> None:
    policy = Policy(orgs={"small": OrgPolicy(running_steps=1)})
    assert wanted(policy, 20, {}, {("bulk", "small"), ("bulk", "b")}) == {("bulk", "small"): 3, ("bulk", "b"): 19}


def test_a_cluster_without_lanes_claims_nothing() -> None:
    assert wanted(Policy(), 0, {}, {("bulk", "a")}) == {}
