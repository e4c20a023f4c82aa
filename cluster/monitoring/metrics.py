"""Every figure that `/metrics` can show, declared once; a test compares this with the dashboard and the alerts.

No label ever holds what callers choose or what grows with time (a job, a media item, a URL, an org): each value would
be a series for ever. Orgs are asked for by `JobStore.backlog`, which forgets them when their jobs end.
"""

from dataclasses import dataclass
from typing import Literal

STEP_BOUNDS_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
CALL_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
WAIT_BOUNDS_S = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
REALTIME_BOUNDS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: seconds, bytes or a count, as its name says; `bounds` are the upper ends of a histogram's buckets."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: dict[str, Metric] = {}
STANDS = ("queued", "delayed", "processing")  # the statuses of jobs that have not ended
SLOT_STATES = ("capacity", "busy", "wanted")


def _declared(kind: Literal["counter", "gauge", "histogram"], name: str, help: str, *labels: str) -> Metric:
    METRICS[name] = Metric(name, kind, help, labels)
    return METRICS[name]


def _histogram(name: str, help: str, bounds: tuple[float, ...], *labels: str) -> Metric:
    METRICS[name] = Metric(name, "histogram", help, labels, bounds)
    return METRICS[name]


# Out of the job store, so from every replica the same, and there whatever becomes of the dispatcher.
STORE_UP = _declared("gauge", "farm_store_up", "Whether the job store answers.")
QUEUE_JOBS = _declared("gauge", "farm_queue_jobs", "Jobs that have not ended, by class.", "priority", "status")
QUEUE_OLDEST = _declared(
    "gauge", "farm_queue_oldest_seconds", "Age of the oldest job that has not ended, by class.", "priority", "status"
)
CALLBACKS_OWED = _declared("gauge", "farm_callbacks_owed", "Callbacks that have not arrived yet.")
CALLBACK_LAG = _declared("gauge", "farm_callback_lag_seconds", "How long the callback that waits longest is overdue.")

# Of the dispatcher as it stands.
DISPATCHER_UP = _declared("gauge", "farm_dispatcher_up", "Whether the dispatcher answers.")
DISPATCHER_STARTED = _declared("gauge", "farm_dispatcher_start_timestamp_seconds", "When the dispatcher started.")
LOOP_LAG = _declared("gauge", "farm_dispatcher_loop_lag_seconds", "The dispatcher's longest delay of late.")
HELD = _declared("gauge", "farm_held_jobs", "Jobs that the dispatcher holds the lease of.")
SLOTS = _declared("gauge", "farm_slots", "Slots for steps: what there are, are taken, are wanted.", "state")
BATCH_STILL = _declared(
    "gauge", "farm_batch_still_seconds", "How long nothing has changed of the open batch that stands longest."
)
LAST_SWEEP = _declared("gauge", "farm_last_sweep_timestamp_seconds", "When storage was last swept; 0 before that.")
SCRATCH_FREE = _declared(
    "gauge", "farm_scratch_free_ratio", "Free part of the working disk, of nodes that ended a step of late.", "node"
)

# Counted where they happen, summed by the dispatcher.
CALLS = _declared("counter", "farm_http_answers_total", "Answers of the API.", "route", "status")
CALL_SECONDS = _histogram("farm_http_seconds", "Time to the answer of the API.", CALL_BOUNDS_S, "route")
REFUSALS = _declared("counter", "farm_refusals_total", "Calls that the API refused, by code.", "code")
CALLBACKS = _declared("counter", "farm_callback_tries_total", "Tries to send a callback, by outcome.", "outcome")
CALLBACK_SECONDS = _histogram(
    "farm_callback_seconds", "From the end of a job to the arrival of its callback.", WAIT_BOUNDS_S
)
LEASES = _declared("counter", "farm_leases_total", "Jobs that were leased.", "priority")
TAKE_OVERS = _declared("counter", "farm_take_overs_total", "Leases that ran out and were taken over.")
LEASES_LOST = _declared("counter", "farm_leases_lost_total", "Leases that somebody else took from this dispatcher.")
GIVEN_BACK = _declared("counter", "farm_given_back_total", "Jobs queued again for what may pass, by code.", "code")
ENDED = _declared("counter", "farm_jobs_ended_total", "Jobs that ended; code says why one failed.", "status", "code")
QUEUED_SECONDS = _histogram(
    "farm_job_queued_seconds", "From acceptance to the first lease of a job.", WAIT_BOUNDS_S, "priority"
)
STEP_SECONDS = _histogram("farm_step_seconds", "Steps, from their slot to their result.", STEP_BOUNDS_S, "step")
SLOT_SECONDS = _histogram("farm_slot_wait_seconds", "How long steps waited for a slot.", WAIT_BOUNDS_S, "priority")
RETRIES = _declared("counter", "farm_retries_total", "Steps tried again, by code.", "step", "code")
CHUNK_SECONDS = _histogram(
    "farm_chunk_seconds", "Encoding and measuring of one chunk on its node.", STEP_BOUNDS_S, "codec", "node_kind"
)
CHUNK_REALTIME = _histogram(
    "farm_chunk_realtime_factor",
    "Seconds of media per second of a chunk's work, all its renditions together.",
    REALTIME_BOUNDS,
    "codec",
    "node_kind",
)
CHUNK_PIXELS = _declared("counter", "farm_chunk_pixels_total", "Pixels encoded in chunks.", "codec", "node_kind")
CHUNK_CPU = _declared(
    "counter", "farm_chunk_cpu_seconds_total", "CPU seconds of chunks' media processes.", "codec", "node_kind"
)
PICTURE_SECONDS = _histogram("farm_picture_seconds", "A picture in its media process.", STEP_BOUNDS_S, "engine", "lane")
SOURCE_BYTES = _declared("counter", "farm_source_bytes_total", "Bytes of sources that were turned.")
PUBLISHED_BYTES = _declared("counter", "farm_published_bytes_total", "Bytes of artifacts that were published.")
