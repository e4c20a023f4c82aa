"""The last step of a job: join and prove, package, cut stills, report, publish."""

import json
import time
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.errors import ResultsDamaged
from cluster.figures import figures_or_none, job_figures
from cluster.media_process import Answer, Usage, Watch, run_media
from cluster.pieces import Piece, fetch, local_file, read_facts
from cluster.publish import publish
from cluster.reuse import Taken, fetch_taken, names_of, provable, read_taken
from cluster.scratch import workdir
from cluster.steps import required_plan, twice
from cluster.tools import Tools
from cluster.work import Names, Work, names
from pipelines.audio_join import JoinTrack
from pipelines.check import PackageCheck
from pipelines.errors import MediaProcessFailed, RejectedMedia
from pipelines.join import JoinRendition, JoinRequest, JoinResult
from pipelines.package import PackageAudio, PackageRendition, PackageRequest
from pipelines.plan import Plan, VideoPlan
from pipelines.report import ChunkFacts, build_report
from pipelines.stills import StillsRequest, StillsResult
from pipelines.wire import to_wire

FETCHED = "fetched"  # the folder for what is downloaded; nothing where storage is a folder of this machine


@dataclass(slots=True)
class Stages:
    """What each kind of media process of the job cost, for the report."""

    costs: dict[str, Any] = field(default_factory=dict)
    figures: list[list[Any]] = field(default_factory=list)  # see cluster.figures; of the steps before

    def add(self, name: str, usage: Usage | dict[str, Any]) -> None:
        """Add one process: seconds add up, memory is the largest."""
        one = to_wire(usage)
        total = self.costs.setdefault(
            name, {"processes": 0, "wall_s": 0.0, "longest_s": 0.0, "cpu_s": 0.0, "peak_rss_bytes": 0}
        )
        total["processes"] += 1
        total["wall_s"] = round(total["wall_s"] + one["wall_s"], 3)
        total["longest_s"] = round(max(total["longest_s"], one["wall_s"]), 3)
        total["cpu_s"] = round(total["cpu_s"] + one["cpu_s"], 3)
        total["peak_rss_bytes"] = max(total["peak_rss_bytes"], one["peak_rss_bytes"])

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Wall seconds of something that is no media process."""
        started = time.monotonic()
        yield
        self.costs[name] = {"wall_s": round(time.monotonic() - started, 3)}


def finish(work: Work, tools: Tools, watch: Watch) -> dict[str, Any]:
    """Everything after the chunks and the audio; what is announced of the job comes back."""
    where = names(work)
    plan = required_plan(where, tools)
    stages = Stages()
    inspected = json.loads(tools.scratch.get_bytes(where.inspect_facts))
    stages.add("inspect", inspected["process"])
    stages.figures += inspected.get("figures", [])  # a job may be older than these
    with workdir(tools.scratch_dir) as folder:
        (folder / FETCHED).mkdir()
        taken = read_taken(where, tools)
        chunks, pieces = _chunk_facts(plan, taken, where, tools, stages)
        tracks, track_paths = _tracks(plan, taken, where, folder, tools, stages)
        tree = folder / "publish"
        tree.mkdir()
        with provable(taken, where, tools):
            joined = _join(plan, taken, where, pieces, folder, tools, stages, watch)
            track_paths |= {proof.name: _joined(folder, f"audio-{proof.name}") for proof in joined.tracks}
            packaged = _packaged(plan, folder, track_paths, tree, tools, stages, watch)
        report = build_report(
            plan,
            chunks,
            proofs=[to_wire(proof) for proof in joined.renditions],
            tracks=tracks + [to_wire(proof) for proof in joined.tracks],
            package=to_wire(packaged),
            stages=stages.costs,
            identities=names_of(plan, work),
            taken={name: one.as_reported for name, one in taken.items()},
        )
        with stages.timed("publish"):
            published = publish(tree, report, work, tools.output, watch.check)
    return {
        "manifest_key": published.manifest_key,
        "revision": published.revision,
        "published_bytes": published.bytes,
        "report": report,
        "figures": figures_or_none(lambda: job_figures(plan, work, report, stages.figures, published.bytes)),
    }


def _packaged(
    plan: Plan, folder: Path, tracks: dict[str, Path], tree: Path, tools: Tools, stages: Stages, watch: Watch
) -> PackageCheck:
    """Package and stills, side by side, in `tree`."""
    with ThreadPoolExecutor(2) as pool:
        packaging = pool.submit(_package, plan, folder, tracks, tree, tools, watch)
        stills = pool.submit(_stills, plan, folder, tree, tools, watch)
        packaged = packaging.result()
        stages.add("package", packaged.usage)
        if (cut := stills.result()) is not None:
            stages.add("stills", cut.usage)
    return packaged.result


def _chunk_facts(
    plan: Plan, taken: Container[str], where: Names, tools: Tools, stages: Stages
) -> tuple[list[ChunkFacts], list[Piece]]:
    """The stored facts of every chunk of every rendition that was made, and its file; costs are added to `stages`."""
    if plan.video is None:
        return [], []
    facts, pieces = [], []
    for cut in plan.video.chunks:
        processes: dict[str, dict[str, Any]] = {}  # one process made all renditions, unless a crash split them
        for rendition in plan.video.renditions:
            if f"video/{rendition.name}" in taken:
                continue
            facts_key = where.chunk_facts(cut, rendition.name)
            stored = read_facts(facts_key, tools.scratch)
            processes[json.dumps(stored["process"])] = stored
            stages.figures += stored.get("figures", [])
            pieces.append(Piece(where.chunk(cut, rendition.name), stored["sha256"], facts_key))
            facts.append(
                ChunkFacts(
                    number=cut.number,
                    rendition=rendition.name,
                    encode_cpu_s=stored["rendition"]["encode_cpu_s"],
                    decode_cpu_s=stored["decode_cpu_s"],
                    concealed_frames=stored["concealed_frames"],
                    vmaf=tuple(stored["vmaf"] or ()),
                    vmaf_missing=stored["vmaf_missing"],
                )
            )
        for stored in processes.values():
            stages.add("chunk", stored["process"])
            if stored["vmaf_process"]:
                stages.add("vmaf", stored["vmaf_process"])
    return facts, pieces


def _join(
    plan: Plan,
    taken: Mapping[str, Taken],
    where: Names,
    pieces: list[Piece],
    folder: Path,
    tools: Tools,
    stages: Stages,
    watch: Watch,
) -> JoinResult:
    """Chunks to renditions; what is taken comes out of its package on the same way, and is proven as they are."""
    video = plan.video
    found = fetch(pieces, folder / FETCHED, tools.scratch)
    chunks = {piece.key: str(path) for piece, path in zip(pieces, found, strict=True)}
    packaged = fetch_taken(taken, where, folder / FETCHED, tools)
    tracks = tuple(
        JoinTrack(track, files, taken[name].facts["expected_samples"], str(_joined(folder, f"audio-{track.name}")))
        for track in plan.audio
        if (files := packaged.get(name := f"audio/{track.name}")) is not None
    )
    if video is None and not tracks:
        return JoinResult(())
    asked = JoinRequest(
        renditions=_join_renditions(video, chunks, packaged, where, folder) if video else (),
        video=replace(video, chunks=()) if video else None,
        frames_path=str(local_file(where.frames, folder / FETCHED, tools.scratch)) if video else None,
        tracks=tracks,
    )
    frames = video.frame_count * len(video.renditions) if video else 0
    limits = tools.process_limits("join", frames=frames, duration_s=plan.duration_s * len(tracks))
    answer = _on_our_files(lambda: run_media("join", asked, JoinResult, limits, watch), tools)
    stages.add("join", answer.usage)
    return answer.result


def _join_renditions(
    video: VideoPlan, chunks: Mapping[str, str], packaged: Mapping[str, tuple[str, ...]], where: Names, folder: Path
) -> tuple[JoinRendition, ...]:
    """Each with its chunks, or with the package that it is taken from."""

    def pieces(name: str) -> tuple[tuple[str, ...], ...]:
        files = packaged.get(f"video/{name}")
        return (files,) if files is not None else tuple((chunks[where.chunk(cut, name)],) for cut in video.chunks)

    return tuple(JoinRendition(r, pieces(r.name), str(_joined(folder, r.name))) for r in video.renditions)


def _joined(folder: Path, rendition: str) -> Path:
    """Where the join writes a rendition or track, and the packager and the stills find it."""
    return folder / f"{rendition}.mp4"


def _tracks(
    plan: Plan, taken: Container[str], where: Names, folder: Path, tools: Tools, stages: Stages
) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """The proofs and files of the audio tracks that were made."""
    names = [track.name for track in plan.audio if f"audio/{track.name}" not in taken]
    if not names:
        return [], {}
    stored = read_facts(where.audio_facts, tools.scratch)
    if not stored["sha256"].keys() >= set(names):  # by a step that took for granted what was forgotten meanwhile
        tools.scratch.delete(where.audio_facts)
        raise ResultsDamaged("an audio track was not made", detail={"keys": [where.audio_facts]})
    stages.add("audio", stored["process"])
    stages.figures += stored.get("figures", [])
    pieces = [Piece(where.audio(name), stored["sha256"][name], where.audio_facts) for name in names]
    paths = fetch(pieces, folder / FETCHED, tools.scratch)
    proofs = [proof for proof in stored["result"]["tracks"] if proof["name"] in names]
    return proofs, dict(zip(names, paths, strict=True))


def _on_our_files[R](run: Callable[[], Answer[R]], tools: Tools) -> Answer[R]:
    """A media process that reads only what we made: no failure of it is the fault of whoever sent the source."""
    try:
        return twice(run, tools)
    except RejectedMedia as error:
        raise MediaProcessFailed(f"our own files were refused: {error}", detail=error.detail) from error


def _package(
    plan: Plan, folder: Path, audio: Mapping[str, Path], tree: Path, tools: Tools, watch: Watch
) -> Answer[PackageCheck]:
    video = plan.video
    asked = PackageRequest(
        renditions=_package_renditions(video, folder),
        audio=tuple(
            PackageAudio(
                name=track.name,
                path=str(audio[track.name]),
                language=track.language,
                title=track.title,
                default=track.default,
                stream_index=track.stream_index,
                bitrate_bps=track.bitrate_bps,
            )
            for track in plan.audio
        ),
        hls=plan.hls,
        dash=plan.dash,
        segment_seconds=plan.segment_seconds,
        gop_seconds=float(video.gop_frames / video.frame_rate) if video else plan.segment_seconds,
        out_dir=str(tree),
    )
    frames = video.frame_count * len(video.renditions) if video else 0
    limits = tools.process_limits("package", frames=frames, duration_s=plan.duration_s)
    return _on_our_files(lambda: run_media("package", asked, PackageCheck, limits, watch.silently()), tools)


def _package_renditions(video: VideoPlan | None, folder: Path) -> tuple[PackageRendition, ...]:
    if video is None:
        return ()
    return tuple(
        PackageRendition(
            name=r.name,
            path=str(_joined(folder, r.name)),
            mp4=r.mp4,
        )
        for r in video.renditions
    )


def _stills(plan: Plan, folder: Path, tree: Path, tools: Tools, watch: Watch) -> Answer[StillsResult] | None:
    video = plan.video
    if video is None or not (plan.poster or plan.sprites):
        return None
    asked = StillsRequest(
        poster_path=str(_joined(folder, video.renditions[-1].name)) if plan.poster else None,
        sprites_path=str(_joined(folder, video.renditions[0].name)) if plan.sprites else None,
        out_dir=str(tree),
    )
    limits = tools.process_limits("stills", frames=video.frame_count)
    return _on_our_files(lambda: run_media("stills", asked, StillsResult, limits, watch.silently()), tools)
