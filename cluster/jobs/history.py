"""What ended jobs did, as sums that estimates are made of: the part of the job store that is a farm's experience."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select

from cluster.jobs.database import Database
from cluster.jobs.tables import figures, misses, rates
from pipelines.loads import Load
from pipelines.rates import Misses, Rates, Reckoned, misses_of, step_of

log = logging.getLogger(__name__)

FOLDED_AT_ONCE = 200
REMEMBERED = 1000.0  # jobs of a sum: then all is halved, so that last year's machines do not speak for today's


@dataclass(frozen=True, slots=True)
class History:
    """What a farm knows of its own work."""

    jobs: int  # that it rests on, the faded ones left out
    rates: Rates
    misses: Mapping[str, Misses]  # by "cpu video", "bytes image" …


class SqlHistory:
    """The part of `JobStore` about what work came to."""

    _db: Database

    def history(self) -> History:
        """See `JobStore.history`."""
        with self._db.read() as connection:
            sums = _sums(connection)
            steps: dict[str, dict[int, float]] = {}
            for row in connection.execute(select(misses)):
                steps.setdefault(row.what, {})[row.step] = row.jobs
        found = {what: known for what, one in steps.items() if (known := misses_of(one)) is not None}
        # Each job has one figure of its wall, on each kind of node that it was on.
        jobs = sum(one[0] for key, one in sums.items() if key[0].startswith("wall "))
        return History(round(jobs), Rates({key: one[1:] for key, one in sums.items()}), found)

    def fold_figures(self) -> int:
        """See `JobStore.fold_figures`."""
        waiting = select(figures).order_by(figures.c.job_id).limit(FOLDED_AT_ONCE)
        if self._db.finds_nothing(waiting):
            return 0
        with self._db.write() as connection:
            found = connection.execute(waiting.with_for_update(skip_locked=True)).all()
            before = _sums(connection)
            known = Rates({key: one[1:] for key, one in before.items()})
            done: dict[tuple[str, str], list[float]] = {}
            missed: dict[tuple[str, int], float] = {}
            for row in found:
                try:
                    did, off = _did(row.body), list(_missed(row.body, known))
                except Exception:  # figures that another version wrote, say; the others' are learnt from
                    log.exception("the figures of job %s are not understood, and left out", row.job_id)
                    continue
                for what_where, numbers in did:
                    so_far = done.setdefault(what_where, [0.0, 0.0, 0.0, 0.0])
                    done[what_where] = [old + new for old, new in zip(so_far, numbers, strict=True)]
                for key in off:
                    missed[key] = missed.get(key, 0.0) + 1.0
            self._add_rates(connection, done)
            self._add_misses(connection, missed)
            connection.execute(delete(figures).where(figures.c.job_id.in_([row.job_id for row in found])))
        return len(found)

    def _add_rates(self, connection: Connection, done: Mapping[tuple[str, str], list[float]]) -> None:
        names = ("jobs", "processes", "units", "amount")
        # Sorted, so that two that fold at once wait for one another instead of each other.
        for (what, node_kind), numbers in sorted(done.items()):
            row = dict(zip(names, numbers, strict=True))
            added = self._db.insert(rates).values(what=what, node_kind=node_kind, **row)
            faded = case((rates.c.jobs + added.excluded.jobs > REMEMBERED, 0.5), else_=1.0)
            sums = {name: (rates.c[name] + added.excluded[name]) * faded for name in names}
            connection.execute(added.on_conflict_do_update(index_elements=[rates.c.what, rates.c.node_kind], set_=sums))

    def _add_misses(self, connection: Connection, missed: Mapping[tuple[str, int], float]) -> None:
        mine = misses.c.what.in_({what for what, _ in missed})
        in_order = select(misses.c.step).where(mine).order_by(misses.c.what, misses.c.step)
        connection.execute(in_order.with_for_update()).all()  # all steps of a kind are halved: see above
        for (what, step), jobs in sorted(missed.items()):
            added = self._db.insert(misses).values(what=what, step=step, jobs=jobs)
            more = {"jobs": misses.c.jobs + added.excluded.jobs}
            connection.execute(added.on_conflict_do_update(index_elements=[misses.c.what, misses.c.step], set_=more))
        many = select(misses.c.what).where(mine).group_by(misses.c.what)
        many = many.having(func.sum(misses.c.jobs) > REMEMBERED)
        connection.execute(misses.update().where(misses.c.what.in_(many)).values(jobs=misses.c.jobs / 2))


def note_figures(connection: Connection, did: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what jobs did, by their ids, that become ready in this transaction, until it is folded."""
    if did:
        connection.execute(insert(figures), [{"job_id": job_id, "body": body} for job_id, body in did.items()])


def _sums(connection: Connection) -> dict[tuple[str, str], tuple[float, float, float, float]]:
    columns = (rates.c.jobs, rates.c.processes, rates.c.units, rates.c.amount)
    query = select(rates.c.what, rates.c.node_kind, *columns)
    return {(what, node_kind): (*numbers,) for what, node_kind, *numbers in connection.execute(query)}


def _did(body: Mapping[str, Any]) -> list[tuple[tuple[str, str], tuple[float, float, float, float]]]:
    """What was done where, and for it: one job, processes, units, the amount."""
    return [
        ((str(what), str(node_kind)), (1.0, float(processes), float(units), float(amount)))
        for what, node_kind, processes, units, amount in body["done"]
    ]


def _missed(body: Mapping[str, Any], known: Rates) -> Iterator[tuple[str, int]]:
    """How far off an estimate was that is made of a job by what was known before it.

    None of a job that took over a part of what an earlier revision had, and none that would have gone by the table: its
    error says nothing of the next estimate. Nobody need have asked for one, and no plan is kept for it.
    """
    if body["expected"] is None:
        return
    loads = [Load(*one) for one in body["expected"]]
    cpu_s: dict[str, float] = {}
    for what, node_kind, *_, amount in body["done"]:
        if what.startswith("cpu "):
            cpu_s[node_kind] = cpu_s.get(node_kind, 0.0) + amount
    used = sum(cpu_s.values())
    if used <= 0:
        return
    estimated = sum((known.total("cpu", loads, kind) * (share / used) for kind, share in cpu_s.items()), Reckoned())
    for name, real, reckoned in (
        ("cpu", used, estimated),
        ("bytes", body["bytes"], known.total("bytes", loads, "")),
    ):
        step = step_of(real, reckoned.amount)
        if step is not None and reckoned.known > reckoned.amount / 2:
            yield f"{name} {body['kind']}", step
