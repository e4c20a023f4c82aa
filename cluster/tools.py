"""What a worker has at hand for a step: storage, a working disk, the source, and limits."""

from dataclasses import dataclass
from pathlib import Path

from cluster.farm_settings import FarmSettings, WorkSettings
from cluster.media_process import Watch
from cluster.storage import Storage, open_storage
from cluster.storage.sources import Sources
from cluster.work import Work, scratch_prefix
from pipelines.confine import ProcessLimits
from pipelines.limits import Limits
from pipelines.signatures import HEAD_BYTES, is_picture

# Seconds of wall clock that a media process may take per unit of work, on one busy core; far above what was measured
# (a 2160p ladder needs about 1 s a frame there), because a clock that fires too early throws good work away. A hang is
# caught much earlier, by the lack of progress.
CHUNK_S_PER_FRAME = 5.0
MEASURE_S_PER_FRAME = 3.0
AUDIO_S_PER_S = 0.5
READ_BYTES_PER_S = 20_000_000
# Where packets do not tell the frames, all of them are decoded to be counted: 0.1 s for one of 8192 pixels' width.
INDEX_S_PER_FRAME = 0.2
LEAST_FRAME_BYTES = 4  # an index entry alone has as many: a small file cannot hold an hour
SURVEY_S = 30.0  # per file: headers and the first decoded frames
BASE_S = 20.0
INSPECT_STALL_S = 25.0


@dataclass(frozen=True, slots=True)
class Tools:
    """Opened for one job on one worker."""

    output: Storage
    scratch: Storage
    sources: Sources
    settings: FarmSettings

    @classmethod
    def open(cls, work: Work, settings: FarmSettings) -> "Tools":
        """The storages that `work` names, with this worker's settings."""
        output = open_storage(work.output_uri, settings.storage)
        is_one = work.scratch_uri == work.output_uri
        return cls(
            output=output,
            scratch=output if is_one else open_storage(work.scratch_uri, settings.storage),
            # Where sources may come from was checked when the job was accepted, for the very object of its etag.
            sources=Sources(settings.storage, allowed=None),
            settings=settings,
        )

    @property
    def limits(self) -> Limits:
        """What a source may be."""
        return self.settings.work.limits

    @property
    def threads(self) -> int:
        """CPU threads that one decoder or filter may use."""
        return self.settings.work.threads_per_step

    @property
    def scratch_dir(self) -> Path:
        """The local working disk."""
        return self.settings.work.scratch_dir

    def source(self, work: Work, watch: Watch) -> Path:
        """The source as a local file: in place when it is one, else fetched once per node."""
        return self.sources.fetch(work.source_uri, work.source_etag, watch.check)

    def source_name(self, work: Work, watch: Watch) -> str:
        """`source` for who has very many."""
        return self.sources.fetched(work.source_uri, work.source_etag, watch.check)

    def is_picture(self, work: Work) -> bool:
        """Whether the source begins as a picture does that this farm turns."""
        return is_picture(self.sources.head(work.source_uri, HEAD_BYTES))

    def process_limits(
        self, command: str, *, size_bytes: int = 0, frames: int = 0, duration_s: float = 0.0
    ) -> ProcessLimits:
        """Clocks and sizes for one media process, by how much it has to do."""
        return process_limits(self.settings.work, command, size_bytes=size_bytes, frames=frames, duration_s=duration_s)

    def sweep(self, work: Work) -> None:
        """Remove what the job left for itself."""
        self.scratch.delete_prefix(scratch_prefix(work.job_id))


def process_limits(
    settings: WorkSettings, command: str, *, size_bytes: int = 0, frames: int = 0, duration_s: float = 0.0
) -> ProcessLimits:
    """What one media process may use.

    `size_bytes` are those of a source that is read whole; `frames` are frames × renditions where a command handles each
    rendition alone, files where it surveys them.
    """
    read_s = size_bytes / READ_BYTES_PER_S
    # How long the video is becomes known by inspecting it, so the clock is for the longest that is allowed.
    most_frames = min(settings.limits.max_frames, size_bytes / LEAST_FRAME_BYTES)
    wall_s = (
        BASE_S
        + read_s
        + {
            "inspect": most_frames * INDEX_S_PER_FRAME,
            "look": settings.image_limits.max_s,
            "chunk": frames * CHUNK_S_PER_FRAME,
            "measure": frames * MEASURE_S_PER_FRAME,
            "audio": duration_s * AUDIO_S_PER_S,
            "join": frames * 0.01 + duration_s * 0.1,
            "stills": frames * 0.1,
            "package": frames * 0.01 + duration_s * 0.1,
            "survey": frames * SURVEY_S,
            "manifest": read_s,  # read twice for the first page: once to count its lines
        }[command]
    )
    return ProcessLimits(
        wall_s=wall_s,
        stall_s=_stall_s(command, wall_s, read_s, settings),
        memory_bytes=settings.media_memory_bytes,
        cpu_s=int(wall_s * 8) + 1,
        file_bytes=settings.media_file_bytes,
    )


def _stall_s(command: str, wall_s: float, read_s: float, settings: WorkSettings) -> float:
    """Silence that is too long; a file may be read to its end before the next packet of a wanted stream is found."""
    if command in (
        "inspect",
        "look",
        "survey",
    ):  # a stranger's file that hangs a demuxer must be known in half a minute
        return min(INSPECT_STALL_S, settings.media_stall_s) + read_s
    if command in ("join", "package", "stills", "manifest"):
        return wall_s  # files read whole between two reports: an hour of ours takes minutes
    return settings.media_stall_s + read_s
