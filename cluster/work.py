"""One job as its steps see it, and the names its results have in storage.

Both are small and plain: they cross Ray and process borders. A name is computed from what went in, so a step that was
done before a crash is found under its name afterwards and not done again.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.plan import ChunkPlan
from pipelines.version import engine_version

SCRATCH = "scratch"
"""The folder of every job's intermediate results; no org may be called so (cluster.jobs.model)."""

StepKind = Literal["inspect", "chunk", "audio", "finish", "image"]


@dataclass(frozen=True, slots=True)
class Work:
    """What every step of one job is told."""

    job_id: str
    org: str
    media_id: str
    source_uri: str
    source_etag: str
    recipe: dict[str, Any]  # the whole recipe, so that a preset changed meanwhile changes nothing
    recipe_digest: str
    kind: Literal["auto", "video", "audio", "image"]
    output_uri: str  # where artifacts are published
    scratch_uri: str  # where steps leave their results for one another
    publish_prefix: str | None  # None: {org}/{media_id}/{revision}; "" or a path: exactly there
    slots: int  # as for how many chunks at once it is cut; decides bytes, so it does not follow what the cluster has
    earlier_manifest_key: str | None = None  # of the item's last revision: what it has of the plan is not made again
    memory_bytes: int | None = None  # set aside for a picture that nobody has looked at; None: for what it needs
    attempt: int = 0  # this and the rest for log lines alone
    fence: int = 0
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of a job that one worker does."""

    kind: StepKind
    number: int = 0  # of the chunk

    def __str__(self) -> str:
        return f"{self.kind} {self.number}" if self.kind == "chunk" else self.kind


@dataclass(frozen=True, slots=True)
class Names:
    """The storage keys of one job's intermediate results."""

    base: str

    @property
    def plan(self) -> str:
        """The plan, JSON of pipelines.plan.Plan."""
        return f"{self.base}/plan.json"

    @property
    def frames(self) -> str:
        """The frame map, see pipelines.frames."""
        return f"{self.base}/frames.i64"

    @property
    def inspect_facts(self) -> str:
        """What looking at the source cost."""
        return f"{self.base}/inspect.json"

    @property
    def audio_facts(self) -> str:
        """What the audio step made; its presence says that the step is done."""
        return f"{self.base}/audio.json"

    def audio(self, track: str) -> str:
        """One encoded audio track."""
        return f"{self.base}/audio/{track}.mp4"

    def chunk(self, cut: ChunkPlan, rendition: str) -> str:
        """One chunk of one rendition."""
        return f"{self._chunk_folder(cut)}/{rendition}.mp4"

    def chunk_facts(self, cut: ChunkPlan, rendition: str) -> str:
        """What is known of that chunk; its presence says that the chunk is done."""
        return f"{self._chunk_folder(cut)}/{rendition}.json"

    @property
    def all_taken(self) -> str:
        """The folder of the notes of what an earlier revision has."""
        return f"{self.base}/taken"

    def taken(self, folder: str) -> str:
        """The note that `folder`, a rendition's or a track's, is taken from an earlier revision."""
        return f"{self.all_taken}/{folder}.json"

    def taken_folder(self, key: str) -> str:
        """The folder that the note `key` is of."""
        return key.removeprefix(f"{self.all_taken}/").removesuffix(".json")

    def _chunk_folder(self, cut: ChunkPlan) -> str:
        # Its frames, not its number: another plan of the same job may cut elsewhere.
        return f"{self.base}/chunk-{cut.start_frame:08d}-{cut.end_frame:08d}"


def scratch_prefix(job_id: str) -> str:
    """Everything a job leaves for itself lies under this key.

    Two jobs of one source share nothing: the first to end would sweep what the other still needs.
    """
    return f"{SCRATCH}/{job_id}"


def names(work: Work) -> Names:
    """The names of `work`'s results: new ones whenever source, recipe or engine change."""
    inputs = [work.source_uri, work.source_etag, work.recipe_digest, work.kind, engine_version()]
    return Names(f"{scratch_prefix(work.job_id)}/{digest(inputs)}")


def digest(value: Any) -> str:
    """A short stable name for any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
