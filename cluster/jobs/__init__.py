"""The job store: where every accepted job is a committed row."""

from cluster.jobs.batch_model import Batch, BatchStatus, Item, ItemStatus, NewBatch, NewItem
from cluster.jobs.model import Backlog, Delivery, Event, Job, JobPage, JobStatus, NewJob, Renewal, Usage, Wish
from cluster.jobs.sql import SqlStore, open_store
from cluster.jobs.store import BatchStore, JobStore

__all__ = [
    "Backlog",
    "Batch",
    "BatchStatus",
    "BatchStore",
    "Delivery",
    "Event",
    "Item",
    "ItemStatus",
    "Job",
    "JobPage",
    "JobStatus",
    "JobStore",
    "NewBatch",
    "NewItem",
    "NewJob",
    "Renewal",
    "SqlStore",
    "Usage",
    "Wish",
    "open_store",
]
