"""The job store: where every accepted job is a committed row."""

from cluster.jobs.batch_model import Batch, BatchStatus, Item, ItemStatus, NewBatch, NewItem
from cluster.jobs.batch_store import BatchStore
from cluster.jobs.history import History
from cluster.jobs.model import (
    Backlog,
    Delivery,
    Ending,
    Event,
    Job,
    JobPage,
    JobStatus,
    Lease,
    NewJob,
    Prepared,
    Renewal,
    Usage,
    Wish,
)
from cluster.jobs.sql import SqlStore, open_store
from cluster.jobs.store import JobStore

__all__ = [
    "Backlog",
    "Batch",
    "BatchStatus",
    "BatchStore",
    "Delivery",
    "Ending",
    "Event",
    "History",
    "Item",
    "ItemStatus",
    "Job",
    "JobPage",
    "JobStatus",
    "JobStore",
    "Lease",
    "NewBatch",
    "NewItem",
    "NewJob",
    "Prepared",
    "Renewal",
    "SqlStore",
    "Usage",
    "Wish",
    "open_store",
]
