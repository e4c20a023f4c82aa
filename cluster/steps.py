"""The steps of a job: fetch what it needs, run one media process, store what came out.

Every step first looks whether its result is already stored under its name, and stores a small JSON of facts last: that
object is the mark that the step is done.
"""

import contextlib
import json
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.errors import ObjectExists
from cluster.figures import chunk_figures, inspect_figures, sound_figures
from cluster.media_process import Answer, Watch, run_media
from cluster.needs import needs_of
from cluster.reuse import note_earlier, taken_folders
from cluster.scratch import blamed_on_full_disk, sweep_dead, typed_disk_errors, workdir
from cluster.tools import Tools
from cluster.work import Names, Step, Work, names
from ladders.model import Recipe
from pipelines.audio import AudioRequest, AudioResult
from pipelines.chunk import ChunkRendition, ChunkRequest, ChunkResult
from pipelines.errors import DecoderCrashed, MediaError, MediaProcessFailed
from pipelines.frames import ROW_BYTES, pack_rows, unpack_rows
from pipelines.inspect import Inspected, InspectRequest
from pipelines.plan import ChunkPlan, FrameRow, Plan, VideoPlan
from pipelines.planner import make_plan
from pipelines.quality import MeasureRendition, MeasureRequest, MeasureResult
from pipelines.wire import from_wire, to_wire


def run_step(work: Work, step: Step, tools: Tools, watch: Watch) -> dict[str, Any]:
    """Do `step` of `work`; plain small values back. Raises MediaError, InfraError or Cancelled."""
    from cluster.finish import finish  # the last step imports every other module of the room

    sweep_dead(tools.scratch_dir)  # workers are killed by force: the next step on this node tidies up after them
    does: dict[str, Callable[[], dict[str, Any]]] = {
        "inspect": lambda: inspect(work, tools, watch),
        "chunk": lambda: chunk(work, step.number, tools, watch),
        "audio": lambda: audio(work, tools, watch),
        "finish": lambda: finish(work, tools, watch),
    }
    with typed_disk_errors(tools.scratch_dir):
        return does[step.kind]()


def inspect(work: Work, tools: Tools, watch: Watch) -> dict[str, Any]:
    """Probe and index the source, decide the plan, and store it; the first plan stored is the plan."""
    where = names(work)
    plan = load_plan(where, tools)
    if plan is None:
        source = tools.source(work, watch)
        assert work.kind != "image", "pictures are turned by engines"
        asked = InspectRequest(source_path=str(source), limits=tools.limits, kind=work.kind)
        limits = tools.process_limits("inspect", size_bytes=source.stat().st_size)
        answer = twice(lambda: run_media("inspect", asked, Inspected, limits, watch), tools)
        inspected = answer.result
        recipe = Recipe.model_validate(work.recipe)
        made, rows = make_plan(inspected.info, inspected.index, recipe, target_chunks=work.slots)
        # The plan goes last: it is only ever found together with its frames, and with what need not be made.
        tools.scratch.put_bytes(where.frames, pack_rows(rows))
        facts = {"process": to_wire(answer.usage), "figures": inspect_figures(made, answer.usage)}
        tools.scratch.put_bytes(where.inspect_facts, _json(facts))
        note_earlier(made, work, where, tools)
        try:
            tools.scratch.put_bytes(where.plan, _json(made), if_absent=True)
        except ObjectExists:  # somebody thought dead was faster; chunks may be encoded by its plan already
            plan = required_plan(where, tools)
        else:
            plan = made
    return _planned(plan, taken_folders(where, tools))


def _planned(plan: Plan, taken: Container[str]) -> dict[str, Any]:
    """What is to be made; an earlier revision has the rest."""
    video = plan.video
    renditions = [r.name for r in video.renditions] if video else []
    tracks = [track.name for track in plan.audio]
    made = [name for name in renditions if f"video/{name}" not in taken]
    encoded = [name for name in tracks if f"audio/{name}" not in taken]
    return {
        "source_bytes": plan.info.size_bytes,
        "frames": video.frame_count if video else 0,
        "renditions": made,
        "chunk_frames": [c.end_frame - c.start_frame for c in video.chunks] if video and made else [],
        "audio_tracks": encoded,
        "reused": [name for name in renditions if name not in made] + [name for name in tracks if name not in encoded],
        "needs": needs_of(plan),
    }


def chunk(work: Work, number: int, tools: Tools, watch: Watch) -> dict[str, Any]:
    """Encode the renditions of one chunk that are not stored yet, measure them, and store them."""
    where = names(work)
    plan = required_plan(where, tools)
    assert plan.video is not None, "a plan without video has no chunks"
    cut = plan.video.chunks[number]
    taken = taken_folders(where, tools)
    missing = tuple(
        r
        for r in plan.video.renditions
        if f"video/{r.name}" not in taken and tools.scratch.stat(where.chunk_facts(cut, r.name)) is None
    )
    if not missing:
        return {"reused": True}
    video = replace(plan.video, renditions=missing, chunks=())
    rows = _rows(where, cut, tools)
    with workdir(tools.scratch_dir) as folder:
        asked = ChunkRequest(
            source_path=str(tools.source(work, watch)),
            video=video,
            chunk=cut,
            sources=tuple(row.source for row in rows),
            pts=tuple(row.pts for row in rows),
            out_dir=str(folder),
            threads=tools.threads,
        )
        limits = tools.process_limits("chunk", frames=len(rows) + len(cut.lead) + len(cut.tail))
        encoded = twice(lambda: run_media("chunk", asked, ChunkResult, limits, watch), tools)
        made_of = {made.name: made for made in encoded.result.renditions}
        if made_of.keys() != {r.name for r in missing}:  # names become paths and keys
            raise MediaProcessFailed("the media process made other renditions than it was asked for")
        files = {name: _own_file(folder, f"{name}.mp4") for name in made_of}
        scores = _measure(asked, files, plan.vmaf, tools, watch)
        figures = chunk_figures(video, len(rows), encoded, plan.vmaf, scores["process"])
        for made in made_of.values():
            facts = _chunk_facts(made, encoded, scores) | {"figures": figures[made.name]}
            stored = tools.scratch.put_file(where.chunk(cut, made.name), files[made.name])
            tools.scratch.put_bytes(where.chunk_facts(cut, made.name), _json(facts | {"sha256": stored.sha256}))
    return {"reused": False, **_size_of(cut, video)}


def _size_of(cut: ChunkPlan, video: VideoPlan) -> dict[str, Any]:
    """How much work a chunk was, for whoever counts: the codec, frames, seconds of media, pixels of all renditions."""
    frames = cut.end_frame - cut.start_frame
    return {
        "codec": "+".join(sorted({r.codec for r in video.renditions})),
        "frames": frames,
        "media_s": float(frames / video.frame_rate),
        "pixels": frames * sum(r.width * r.height for r in video.renditions),
    }


def _chunk_facts(made: ChunkRendition, encoded: Answer[ChunkResult], scores: dict[str, Any]) -> dict[str, Any]:
    result = encoded.result
    return {
        "rendition": to_wire(made),
        "decode_cpu_s": result.decode_cpu_s,
        "concealed_frames": result.concealed_frames,
        "process": to_wire(encoded.usage),
        "vmaf": scores["per_rendition"].get(made.name),
        "vmaf_process": scores["process"],
        "vmaf_missing": scores["missing"],
    }


def _measure(
    asked: ChunkRequest,
    files: dict[str, Path],
    mode: str,
    tools: Tools,
    watch: Watch,
) -> dict[str, Any]:
    """VMAF of what was encoded, in a process of its own: its memory comes on top of nobody's encoders.

    This node has the source and the chunk at hand, and a closed GOP decodes the same before and after the join.
    """
    if mode == "off":
        return {"per_rendition": {}, "process": None, "missing": "switched off by the recipe"}
    request = MeasureRequest(
        source_path=asked.source_path,
        video=asked.video,
        chunk=asked.chunk,
        sources=asked.sources,
        pts=asked.pts,
        renditions=tuple(MeasureRendition(name, str(path)) for name, path in files.items()),
        mode=mode,
        threads=asked.threads,
    )
    limits = tools.process_limits("measure", frames=len(asked.sources))
    try:
        answer = run_media("measure", request, MeasureResult, limits, watch.silently())
    except MediaError as error:  # a figure that is missing is said to be missing; it does not cost the encode
        return {"per_rendition": {}, "process": None, "missing": f"{error.code}: {error.public_message}"}
    scores = {score.name: list(score.scores) for score in answer.result.renditions}
    return {"per_rendition": scores, "process": to_wire(answer.usage), "missing": answer.result.why_not}


def audio(work: Work, tools: Tools, watch: Watch) -> dict[str, Any]:
    """Encode every audio track that no earlier revision has, once, whole."""
    where = names(work)
    plan, taken = required_plan(where, tools), taken_folders(where, tools)
    tracks = tuple(track for track in plan.audio if f"audio/{track.name}" not in taken)
    if _has_tracks({track.name for track in tracks}, where, tools):
        return {"reused": True}
    with workdir(tools.scratch_dir) as folder:
        source = tools.source(work, watch)
        asked = AudioRequest(
            source_path=str(source),
            tracks=tracks,
            start_s=plan.start_s,
            duration_s=plan.duration_s,
            has_video=plan.video is not None,
            out_dir=str(folder),
        )
        limits = tools.process_limits(
            "audio", size_bytes=source.stat().st_size, duration_s=plan.duration_s * len(tracks)
        )
        made = twice(lambda: run_media("audio", asked, AudioResult, limits, watch), tools)
        sha256 = {
            track.name: tools.scratch.put_file(where.audio(track.name), _own_file(folder, f"{track.name}.mp4")).sha256
            for track in made.result.tracks
        }
        facts = {"result": to_wire(made.result), "process": to_wire(made.usage), "sha256": sha256}
        facts["figures"] = sound_figures(len(tracks), plan.duration_s, made.usage)
        tools.scratch.put_bytes(where.audio_facts, _json(facts))
    return {"reused": False}


def _has_tracks(wanted: set[str], where: Names, tools: Tools) -> bool:
    """Whether all these tracks are stored: one may have been added that an earlier revision turned out to lack."""
    if tools.scratch.stat(where.audio_facts) is None:
        return False
    try:
        stored = json.loads(tools.scratch.get_bytes(where.audio_facts))
        return wanted.issubset(stored["sha256"])
    except ValueError:  # damaged: made again here, where it costs no round
        return False


def twice[T](run: Callable[[], T], tools: Tools) -> T:
    """A native crash may be bad luck once (a racing codec thread); the second one is the input's, or a full disk's."""
    with blamed_on_full_disk(tools.scratch_dir):
        with contextlib.suppress(DecoderCrashed):
            return run()
        return run()


def _own_file(folder: Path, name: str) -> Path:
    """The file that a media process was asked to write; not whatever path it answers with, nor where a link leads."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise MediaProcessFailed(f"the media process did not write {name}")
    return path


def load_plan(where: Names, tools: Tools) -> Plan | None:
    """The stored plan, or None before `inspect`."""
    if tools.scratch.stat(where.plan) is None:
        return None
    return from_wire(Plan, json.loads(tools.scratch.get_bytes(where.plan)))


def required_plan(where: Names, tools: Tools) -> Plan:
    """The stored plan; ObjectMissing when somebody removed it."""
    return from_wire(Plan, json.loads(tools.scratch.get_bytes(where.plan)))


def _rows(where: Names, cut: ChunkPlan, tools: Tools) -> list[FrameRow]:
    start, count = cut.start_frame, cut.end_frame - cut.start_frame
    return unpack_rows(tools.scratch.get_bytes(where.frames, start=start * ROW_BYTES, length=count * ROW_BYTES))


def _json(value: Any) -> bytes:
    return json.dumps(to_wire(value), separators=(",", ":")).encode()
