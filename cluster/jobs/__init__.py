"""The job store: where every accepted job is a committed row."""

from cluster.jobs.model import Delivery, Event, Job, JobPage, JobStatus, NewJob, Renewed
from cluster.jobs.sql import SqlStore, open_store
from cluster.jobs.store import JobStore

__all__ = [
    "Delivery",
    "Event",
    "Job",
    "JobPage",
    "JobStatus",
    "JobStore",
    "NewJob",
    "Renewed",
    "SqlStore",
    "open_store",
]
