"""What waits, for whom, and by which policy: what the dispatcher and the operators look at."""

import math
import uuid
from datetime import timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import bindparam, case, func, select

from cluster.claims import PICTURE_WEIGHT, likely_weight
from cluster.errors import PolicyChanged
from cluster.jobs.database import Database
from cluster.jobs.model import Backlog, JobStatus, Lease, Usage
from cluster.jobs.rows import CLASSES
from cluster.jobs.tables import jobs, policies
from cluster.policy import Policy

DAY = timedelta(hours=24)


class SqlQueue:
    """The part of `JobStore` about what waits and who is owed how much."""

    _db: Database

    def backlog(self) -> list[Backlog]:
        """See `JobStore.backlog`."""
        queued = jobs.c.status == JobStatus.QUEUED.value
        stands = case((queued & (jobs.c.run_after > self._db.now()), "delayed"), else_=jobs.c.status)
        groups = (jobs.c.org, jobs.c.priority, stands.label("stands"))
        query = (
            select(*groups, func.count().label("jobs"), func.min(jobs.c.created_at).label("oldest"))
            .where(jobs.c.finished_at.is_(None))
            .group_by(*groups)
            .order_by(*groups)
        )
        with self._db.read() as connection:
            now = connection.execute(select(self._db.now())).scalar_one()
            found = connection.execute(query).all()
        return [
            Backlog(row.org, CLASSES[row.priority], row.stands, row.jobs, (now - row.oldest).total_seconds())
            for row in found
        ]

    def queued_weight(self, most: int) -> float:
        """See `JobStore.queued_weight`."""
        is_due = (jobs.c.status == JobStatus.QUEUED.value, jobs.c.run_after <= self._db.now())
        query = select(jobs.c.kind, jobs.c.source_uri).where(jobs.c.finished_at.is_(None), *is_due)
        with self._db.read() as connection:
            found = connection.execute(query.limit(math.ceil(most / PICTURE_WEIGHT))).all()
        return min(float(most), sum(likely_weight(row.kind, row.source_uri) for row in found))

    def leases(self) -> list[Lease]:
        """See `JobStore.leases`."""
        mine = (
            jobs.c.finished_at.is_(None),
            jobs.c.status == JobStatus.PROCESSING.value,
            jobs.c.lease_owner.is_not(None),
        )
        first = (func.min(jobs.c.started_at).label("began"), func.min(jobs.c.lease_until).label("until"))
        query = select(jobs.c.lease_owner, func.count().label("jobs"), *first).where(*mine)
        with self._db.read() as connection:
            now = connection.execute(select(self._db.now())).scalar_one()
            found = connection.execute(query.group_by(jobs.c.lease_owner).order_by(jobs.c.lease_owner)).all()
        return [
            Lease(row.lease_owner, row.jobs, (now - row.began).total_seconds(), (row.until - now).total_seconds())
            for row in found
        ]

    def waiting(self) -> set[tuple[str, str]]:
        """See `JobStore.waiting`; reads a few index entries for each org, however many jobs it has."""
        found = set()
        with self._db.read() as connection:
            for rank, name in CLASSES.items():
                for org in connection.execute(self._orgs_of, {"rank": rank}).scalars():
                    found.add((name, org))
        return found

    @cached_property  # asked for several times a second, and building it takes longer than the answer
    def _orgs_of(self) -> Any:
        queued = jobs.c.status == JobStatus.QUEUED.value
        is_due = (queued & (jobs.c.run_after <= self._db.now())) | (jobs.c.lease_until < self._db.now())
        is_open = (jobs.c.finished_at.is_(None), jobs.c.priority == bindparam("rank"))
        first = select(func.min(jobs.c.org).label("org")).where(*is_open)
        orgs = first.cte("orgs", recursive=True)
        following = select(func.min(jobs.c.org)).where(*is_open, jobs.c.org > orgs.c.org).scalar_subquery()
        orgs = orgs.union_all(select(following).where(orgs.c.org.is_not(None)))
        theirs = select(jobs.c.id).where(*is_open, jobs.c.org == orgs.c.org, is_due)
        return select(orgs.c.org).where(orgs.c.org.is_not(None), theirs.exists())

    def policy(self) -> Policy:
        """See `JobStore.policy`."""
        with self._db.read() as connection:
            row = connection.execute(select(policies).order_by(policies.c.version.desc()).limit(1)).one_or_none()
        return Policy.model_validate(row.body | {"version": row.version}) if row is not None else Policy()

    def change_policy(self, policy: Policy) -> Policy:
        """See `JobStore.change_policy`; every policy that ever held is kept, for whoever asks what happened."""
        changed = policy.model_copy(update={"version": policy.version + 1})
        row = {
            "version": changed.version,
            "body": changed.model_dump(mode="json", exclude={"version"}),
            "changed_at": self._db.now(),
        }
        newest = select(func.coalesce(func.max(policies.c.version), 0))
        insert = self._db.insert(policies).values(row).on_conflict_do_nothing().returning(policies.c.version)
        with self._db.write() as connection:
            is_newest = connection.execute(newest).scalar_one() == policy.version
            if is_newest and connection.execute(insert).one_or_none() is not None:
                return changed
        raise PolicyChanged(f"version {policy.version} is not the policy that holds: read it again and change that")

    def usage(self, org: str) -> Usage:
        """See `JobStore.usage`."""
        mine = (jobs.c.org == org, jobs.c.batch_id.is_(None))
        # All classes by name: then the index on (class, org) finds them.
        queued = select(func.count()).where(*mine, jobs.c.finished_at.is_(None), jobs.c.priority.in_(CLASSES))
        with self._db.read() as connection:
            now = connection.execute(select(self._db.now())).scalar_one()
            # Ids sort by their time: the index on (org, id) finds a day's jobs, and no other is read.
            first_ms = int((now - DAY).timestamp() * 1000)
            first = str(uuid.UUID(int=first_ms << 80))
            sent = select(func.coalesce(func.sum(jobs.c.source_bytes), 0)).where(*mine, jobs.c.id >= first)
            return Usage(connection.execute(queued).scalar_one(), int(connection.execute(sent).scalar_one()))
