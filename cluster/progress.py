"""How far a job is, per rendition, from what its steps report."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class JobProgress:
    """Frames done per rendition and the present stage; a snapshot of it is what the API shows."""

    stage: str = "inspecting"  # encoding, packaging, done
    frames: int = 0  # of the output; 0 for audio-only sources
    renditions: tuple[str, ...] = ()  # that are made
    reused: tuple[str, ...] = ()  # renditions and tracks that an earlier revision has; nothing of them is encoded
    audio: str = "none"  # (to be made) none, encoding, done
    chunks_total: int = 0
    chunks_done: int = 0
    _per_chunk: dict[int, dict[str, int]] = field(default_factory=dict)

    def planned(
        self, frames: int, renditions: tuple[str, ...], chunks: int, has_audio: bool, reused: tuple[str, ...] = ()
    ) -> None:
        """The plan is known: encoding can begin."""
        self.stage = "encoding"
        self.frames, self.renditions, self.reused, self.chunks_total = frames, renditions, reused, chunks
        self.chunks_done = 0
        self.audio = "encoding" if has_audio else "none"

    def chunk(self, number: int, frames_done: dict[str, int]) -> None:
        """Frames that chunk `number` has encoded so far, per rendition; a chunk that starts over counts anew.

        Names that the plan does not have are dropped: they come from where a stranger's bytes were parsed.
        """
        self._per_chunk[number] = {name: frames_done[name] for name in self.renditions if name in frames_done}

    def chunk_done(self, number: int, frames: int) -> None:
        """All renditions of the chunk are stored."""
        self._per_chunk[number] = dict.fromkeys(self.renditions, frames)
        self.chunks_done += 1

    def snapshot(self) -> dict[str, Any]:
        """Plain values: stage, percent (of encoding), and frames per rendition."""
        done = {
            name: min(self.frames, sum(chunk.get(name, 0) for chunk in self._per_chunk.values()))
            for name in self.renditions
        }
        total = self.frames * len(self.renditions)
        percent = (
            100.0 if self.stage in ("packaging", "done") else (100.0 * sum(done.values()) / total if total else 0.0)
        )
        return {
            "stage": self.stage,
            "percent": round(percent, 1),
            "renditions": {name: {"frames_done": count, "frames": self.frames} for name, count in done.items()},
            "reused": list(self.reused),
            "audio": self.audio,
            "chunks": {"done": self.chunks_done, "total": self.chunks_total},
        }
