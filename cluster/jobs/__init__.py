"""The job store: where every accepted job is a committed row."""

from cluster.jobs.model import Delivery, Event, Job, JobPage, JobStatus, NewJob
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
    "SqlStore",
    "open_store",
]
