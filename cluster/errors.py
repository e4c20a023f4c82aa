"""What can go wrong around the media: storage, sources, the job store, workers, settings.

InfraError                      code, retryable, public_message, detail
├── StorageError
│   ├── StorageUnavailable      storage_unavailable    (no answer, an overloaded or broken server; retryable)
│   ├── StorageRefused          storage_refused        (credentials, bucket or permission)
│   ├── StorageFull             storage_full           (no room left; retryable: room can come back)
│   ├── ObjectMissing           object_missing
│   ├── ObjectExists            object_exists          (somebody else wrote it first)
│   ├── ObjectChanged           object_changed         (replaced while it was read; retryable)
│   ├── ChecksumMismatch        checksum_mismatch      (the bytes are not those that were written; retryable)
│   ├── ResultsDamaged          results_damaged        (what finished steps stored is not there any more; retryable)
│   └── InvalidKey              invalid_key
├── SourceError
│   ├── ForbiddenUri            forbidden_uri          (not a place that sources may come from)
│   ├── SourceMissing           source_missing
│   └── SourceChanged           source_changed         (not the object that the job was accepted for)
├── StoreError
│   ├── StoreUnavailable        store_unavailable      (retryable)
│   ├── StoreFull               store_full             (retryable)
│   ├── StoreOutdated           store_outdated         (its tables are older than this program)
│   ├── JobMissing              job_missing
│   ├── BatchMissing            batch_missing
│   ├── InvalidJob              invalid_job            (values that a database cannot hold)
│   ├── InvalidCursor           invalid_cursor
│   ├── IdempotencyConflict     idempotency_conflict   (the key was used for another request)
│   ├── IllegalMove             illegal_move           (the job's status does not allow it)
│   ├── FenceLost               fence_lost             (somebody else owns the job now)
│   └── PolicyChanged           policy_changed         (somebody changed the policy first)
├── ClusterError
│   ├── ClusterUnreachable      cluster_unreachable    (Ray does not answer; retryable)
│   ├── NodeMissing             node_missing
│   └── DrainRefused            drain_refused          (a node that cannot be taken out)
├── WorkerLost                  worker_lost            (the process or machine that did the work is gone; retryable)
├── NoRoom                      no_room                (no node has the memory or disk that a step needs; retryable)
└── SettingsInvalid             settings_invalid       (an environment variable has a value that cannot be used)
"""

from ladders.errors import FarmError


class InfraError(FarmError):
    """An error that is not the media's; `code` is stable, `public_message` holds no secrets."""

    code = "infra_error"


class StorageError(InfraError):
    """Storage did not do what was asked."""

    code = "storage_error"


class StorageUnavailable(StorageError):
    """Storage gave no answer, or said that it cannot answer now."""

    code = "storage_unavailable"
    retryable = True


class StorageRefused(StorageError):
    """Storage understood and refused: credentials, bucket, permissions or an unsupported request."""

    code = "storage_refused"


class StorageFull(StorageError):
    """There is no room left; the job can run again when there is."""

    code = "storage_full"
    retryable = True


class ObjectMissing(StorageError):
    """There is no object under this key."""

    code = "object_missing"


class ObjectExists(StorageError):
    """An object that must be written only once is there already."""

    code = "object_exists"


class ObjectChanged(StorageError):
    """The object was replaced while it was being read."""

    code = "object_changed"
    retryable = True


class ChecksumMismatch(StorageError):
    """The bytes are not those that were written."""

    code = "checksum_mismatch"
    retryable = True


class ResultsDamaged(StorageError):
    """What finished steps of a job had stored is missing or damaged; it was forgotten, so that they are done again."""

    code = "results_damaged"
    retryable = True


class InvalidKey(StorageError):
    """The key is not one that every storage can hold."""

    code = "invalid_key"


class SourceError(InfraError):
    """The source of a job cannot be had."""

    code = "source_error"


class ForbiddenUri(SourceError):
    """The URI is malformed, or not in a place that sources may come from."""

    code = "forbidden_uri"


class SourceMissing(SourceError):
    """There is no object at the source URI."""

    code = "source_missing"


class SourceChanged(SourceError):
    """The object at the source URI is another one than the job was accepted for."""

    code = "source_changed"


class StoreError(InfraError):
    """The job store did not do what was asked."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The database gave no answer, or said that it cannot answer now."""

    code = "store_unavailable"
    retryable = True


class StoreFull(StoreError):
    """The database has no room left; nothing of the call was kept."""

    code = "store_full"
    retryable = True


class StoreOutdated(StoreError):
    """The database's tables are not those of this program's version."""

    code = "store_outdated"


class JobMissing(StoreError):
    """There is no job with this id."""

    code = "job_missing"


class BatchMissing(StoreError):
    """There is no batch with this id."""

    code = "batch_missing"


class InvalidJob(StoreError):
    """The job holds values that a database cannot store."""

    code = "invalid_job"


class InvalidCursor(StoreError):
    """The cursor is not one that a listing gave."""

    code = "invalid_cursor"


class IdempotencyConflict(StoreError):
    """The idempotency key was used before, for another request."""

    code = "idempotency_conflict"


class IllegalMove(StoreError):
    """The job's status does not allow what was asked."""

    code = "illegal_move"


class FenceLost(StoreError):
    """The lease was lost: somebody else owns the job now, and this write changed nothing."""

    code = "fence_lost"


class PolicyChanged(StoreError):
    """The policy is not the one that the change was made for."""

    code = "policy_changed"


class ClusterError(InfraError):
    """The cluster did not do what was asked."""

    code = "cluster_error"


class ClusterUnreachable(ClusterError):
    """No Ray answers, or its control service does not."""

    code = "cluster_unreachable"
    retryable = True


class NodeMissing(ClusterError):
    """No node of the cluster, or more than one, is called so."""

    code = "node_missing"


class DrainRefused(ClusterError):
    """The node cannot be taken out of the cluster."""

    code = "drain_refused"


class WorkerLost(InfraError):
    """The process or machine that did the work is gone."""

    code = "worker_lost"
    retryable = True


class NoRoom(InfraError):
    """A step needs more memory or scratch than any node of the cluster has for all its steps together."""

    code = "no_room"
    retryable = True  # a larger node may come


class SettingsInvalid(InfraError):
    """An environment variable has a value that cannot be used; the message names it."""

    code = "settings_invalid"
