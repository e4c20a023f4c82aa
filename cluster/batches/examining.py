"""What is to become of an entry: a job, or nothing, because it was made before or cannot be."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from cluster.batches.reading import Entry
from cluster.errors import InfraError
from cluster.farm_settings import FarmSettings
from cluster.jobs import Batch, BatchStore, ItemStatus, NewItem, NewJob
from cluster.storage import Storage, open_storage
from cluster.storage.sources import SourceObject, Sources
from cluster.storage.urls import AllowedSources
from ladders.errors import FarmError
from pipelines.errors import EmptyFile, InvalidItem

LOOKS_AT_ONCE = 16  # a HEAD of S3 is all waiting


@dataclass(frozen=True, slots=True)
class Examiner:
    """Looks at sources, a group of entries at a time; for one batch."""

    batch: Batch
    store: BatchStore
    settings: FarmSettings
    output: Storage

    @classmethod
    def of(cls, batch: Batch, store: BatchStore, settings: FarmSettings) -> "Examiner":
        """With the farm's own storage."""
        return cls(batch, store, settings, open_storage(settings.storage.storage_uri, settings.storage))

    def examined(self, found: Sequence[Entry]) -> list[NewItem]:
        """An item for each entry; raises only InfraError that may pass."""
        org = self.batch.org
        allowed = AllowedSources(place.replace("{org}", org) for place in self.settings.storage.source_prefixes)
        media_ids = [entry.media_id for entry in found if entry.media_id is not None]
        before = self.store.newest_ready(org, media_ids) if media_ids else {}
        with Sources(self.settings.storage, allowed) as sources, ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            return list(pool.map(lambda entry: self._item(entry, allowed, sources, before), found))

    def named_once(self, numbers: Sequence[int], items: Sequence[NewItem]) -> list[NewItem]:
        """`items`, which have these numbers, but those refused whose media_id another one of this batch is made by.

        Two would publish beside each other, and the order in which they end would decide which of them is the newest.
        What is current has its name too: else the next run would make the other one, and the run after that this.
        """
        names = [item.media_id for item in items if item.job is not None and item.media_id is not None]
        holders = self.store.named(self.batch.id, names) if names else {}
        found = []
        for number, item in zip(numbers, items, strict=True):
            if item.status is not ItemStatus.REFUSED and item.media_id is not None:
                holder = holders.setdefault(item.media_id, number)
                if item.job is not None and holder != number:
                    error = InvalidItem(f"line {item.line}: another line of this batch has its media_id")
                    refused = error.to_wire() | {"detail": {}}
                    item = replace(item, status=ItemStatus.REFUSED, job=None, error=refused)
            found.append(item)
        return found

    def _item(self, entry: Entry, allowed: AllowedSources, sources: Sources, before: dict[str, Any]) -> NewItem:
        try:
            source = self._source(entry, allowed, sources)
            made = before.get(entry.media_id or "")
            if made is not None and self._is_current(made, entry, source):
                return self._new(entry, status=ItemStatus.CURRENT, job_id=made.id)
            return self._new(entry, job=self._job(entry, source))
        except FarmError as error:
            if error.retryable and isinstance(error, InfraError):
                raise
            return self._new(entry, status=ItemStatus.REFUSED, error=error.to_wire() | {"detail": {}})

    def _source(self, entry: Entry, allowed: AllowedSources, sources: Sources) -> SourceObject:
        if entry.problem is not None:
            raise entry.problem
        assert entry.source_uri is not None, "an entry without a source has a problem"
        if entry.found is not None:
            allowed.check(entry.source_uri)
            source = entry.found
        else:
            source = sources.open(entry.source_uri)
        if source.size_bytes == 0:
            raise EmptyFile("the file has no bytes")
        return source

    def _is_current(self, made: Any, entry: Entry, source: SourceObject) -> bool:
        wanted = (source.etag, self.batch.recipe_digest, entry.kind or self.batch.kind)
        if (made.source_etag, made.recipe_digest, made.kind) != wanted:
            return False
        return made.manifest_key is not None and self.output.stat(made.manifest_key) is not None

    def _job(self, entry: Entry, source: SourceObject) -> NewJob:
        assert entry.media_id is not None, "an entry without a problem has a name"
        job = NewJob(
            org=self.batch.org,
            media_id=entry.media_id,
            recipe_name=self.batch.recipe_name,
            recipe=self.batch.recipe,
            recipe_digest=self.batch.recipe_digest,
            source_uri=source.uri,
            source_etag=source.etag,
            source_bytes=source.size_bytes,
            kind=entry.kind or self.batch.kind,
            priority=self.batch.priority,
            metadata=dict(entry.metadata),
        )
        job.check()
        return job

    @staticmethod
    def _new(entry: Entry, **becomes: Any) -> NewItem:
        return NewItem(
            line=entry.line,
            source_uri=entry.source_uri,
            media_id=entry.media_id,
            asked=entry.asked,
            **becomes,
        )
