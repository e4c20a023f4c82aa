"""The plan of a job, from facts alone: nothing is opened and nothing is decoded here."""

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction

from ladders.model import AudioPart, Recipe, SelectedRung, SourceShape, VideoPart
from ladders.select import output_frame_rate, select_rungs
from pipelines.color import hdr_tags, needs_mapping, sdr_tags, true_tags
from pipelines.cut import cut
from pipelines.encoders import gop_frames, rendition_plan
from pipelines.errors import NoDecodableStream, UnsupportedMedia
from pipelines.facts import AudioFacts, MediaInfo, VideoFacts
from pipelines.frames import (
    HOLD_S,
    constant_rows,
    held_rows,
    pack_rows,
    phase_s,
    source_rate,
    source_rows,
    thinned_rows,
)
from pipelines.plan import (
    AudioTrackPlan,
    ColorTags,
    FrameIndex,
    FrameRow,
    Plan,
    RenditionPlan,
    SourceStage,
    VideoPlan,
)

SLIDES_BELOW_FPS = 10  # half a frame of a slide show is seconds: moving the sound by as much would cut into it


def make_plan(
    info: MediaInfo, index: FrameIndex | None, recipe: Recipe, *, target_chunks: int
) -> tuple[Plan, list[FrameRow]]:
    """The plan of a job and its frame map (empty without video); `index` is None exactly when video is not wanted.

    Raises UnsupportedMedia when the recipe is of pictures alone, NoDecodableStream when the source has nothing that the
    recipe makes something of, LimitExceeded when the frame map would be too long.
    """
    if recipe.video is None and recipe.audio is None:
        raise UnsupportedMedia(f"the recipe {recipe.name} has no video or audio part: choose another for this file")
    video: VideoPlan | None = None
    rows: list[FrameRow] = []
    start_s = Fraction(0)
    if recipe.video is not None and info.video is not None and index is not None:
        frames = _frame_map(info.video, index, recipe.video, with_sound=recipe.audio is not None)
        video = _video(info.video, index, recipe, frames, target_chunks)
        rows, start_s = frames.rows, frames.start_s
    audio = _audio(info.audio, recipe.audio) if recipe.audio is not None else ()
    if video is None and audio:
        start_s = Fraction(min(track.start_s for track in info.audio)).limit_denominator(1_000_000)
    if video is None and not (audio and (recipe.packaging.hls or recipe.packaging.dash)):  # a file has a picture
        raise NoDecodableStream(f"the source has nothing that the recipe {recipe.name} makes something of")
    plan = Plan(
        info=info,
        video=video,
        audio=audio,
        start_s=start_s,
        duration_s=video.duration_s if video else _audio_length(info, start_s),
        hls=recipe.packaging.hls,
        dash=recipe.packaging.dash,
        segment_seconds=recipe.packaging.segment_seconds,
        poster=recipe.stills.poster and video is not None,
        sprites=recipe.stills.sprites and video is not None,
        vmaf=recipe.vmaf if video else "off",
    )
    return plan, rows


@dataclass(frozen=True, slots=True)
class _FrameMap:
    """When which source frame is shown."""

    fps: Fraction
    time_base: Fraction
    rows: list[FrameRow]
    duration_s: float
    held_frames: int
    start_s: Fraction  # as Plan.start_s


def _frame_map(source: VideoFacts, index: FrameIndex, wanted: VideoPart, *, with_sound: bool) -> _FrameMap:
    rate = source_rate(index, source.frame_rate)
    fps = output_frame_rate(rate.fps, wanted.max_frame_rate)
    while fps < 1:  # a slide show: each picture is shown a few times over, so that GOPs are as short as elsewhere
        fps *= 2
    start_s = index.pts[0] * index.time_base
    if wanted.timing == "constant":
        rows = constant_rows(index, rate, fps)
        if rate.fps >= SLIDES_BELOW_FPS:
            start_s += phase_s(index, rows, 1 / fps)
        time_base, duration_s = 1 / fps, float(len(rows) / fps)
    else:
        if rate.fps > wanted.max_frame_rate:
            rows = thinned_rows(index, rate, fps)
        else:
            fps, rows = rate.fps, source_rows(index)
        time_base = index.time_base
        duration_s = float((index.pts[-1] - index.pts[0] + index.last_duration) * time_base)
    own_frames = len(rows)
    sound_s = index.sound_end_s - float(start_s) if with_sound else 0.0
    if sound_s > duration_s + HOLD_S:
        step = 1 / (fps * time_base)
        rows = held_rows(rows, step, sound_s / float(time_base))
        duration_s = float((rows[-1].pts + step) * time_base)
    return _FrameMap(fps, time_base, rows, duration_s, len(rows) - own_frames, start_s)


def _video(source: VideoFacts, index: FrameIndex, recipe: Recipe, frames: _FrameMap, target_chunks: int) -> VideoPlan:
    wanted = recipe.video
    assert wanted is not None
    gop = gop_frames(frames.fps, wanted.gop_seconds)
    renditions = _renditions(source, recipe, frames.fps, gop)
    stage = _stage(source, wanted, renditions)
    chunks = cut(
        index,
        frames.rows,
        fps=len(frames.rows) / frames.duration_s,
        gop_frames=gop,
        target_chunks=target_chunks,
        tone_map=stage.tone_map,
        deinterlace=stage.deinterlace,
    )
    return VideoPlan(
        source=source,
        stage=stage,
        matching=index.matching,
        frame_rate=frames.fps,
        time_base=frames.time_base,
        frame_count=len(frames.rows),
        frames_sha256=hashlib.sha256(pack_rows(frames.rows)).hexdigest(),
        duration_s=frames.duration_s,
        gop_frames=gop,
        renditions=renditions,
        chunks=chunks,
        why_not_chunkable=index.why_not_chunkable,
        held_frames=frames.held_frames,
    )


def _renditions(source: VideoFacts, recipe: Recipe, fps: Fraction, gop: int) -> tuple[RenditionPlan, ...]:
    wanted = recipe.video
    assert wanted is not None
    width, height = source.display_size
    hdr = source.dynamic_range != "sdr"
    rungs = select_rungs(wanted, SourceShape(width=width, height=height))
    keep_hdr = hdr and wanted.dynamic_range == "source"
    files = _mp4_rungs(rungs, recipe.packaging.mp4)
    return tuple(
        rendition_plan(
            rung,
            wanted.codec,
            frame_rate=fps,
            gop_frames=gop,
            color=_out_tags(source, wanted),
            hdr=keep_hdr,
            mp4=rung.name in files,
            mastering_display=source.mastering_display if keep_hdr else None,
            content_light=source.content_light if keep_hdr else None,
        )
        for rung in rungs
    )


def _out_tags(source: VideoFacts, wanted: VideoPart) -> ColorTags:
    keep_hdr = source.dynamic_range != "sdr" and wanted.dynamic_range == "source"
    return hdr_tags(true_tags(source)) if keep_hdr else sdr_tags(true_tags(source))


def _mp4_rungs(rungs: tuple[SelectedRung, ...], asked: tuple[str, ...]) -> set[str]:
    """The rungs that are published as a file: those asked for, or the best one in place of one that is too large."""
    have = {rung.name for rung in rungs}
    best = max(rungs, key=lambda rung: rung.width * rung.height).name
    return {name if name in have else best for name in asked}


def _stage(source: VideoFacts, wanted: VideoPart, renditions: tuple[RenditionPlan, ...]) -> SourceStage:
    tags = true_tags(source)
    keep_hdr = source.dynamic_range != "sdr" and wanted.dynamic_range == "source"
    tone_map = needs_mapping(tags) and not keep_hdr
    width, height = source.width, source.height
    if tone_map:
        # Mapping costs by the pixel, so it is done at the size of the largest rendition, before the turn.
        width, height = max(((r.width, r.height) for r in renditions), key=lambda size: size[0] * size[1])
        if source.rotation_deg in (90, 270):
            width, height = height, width
    return SourceStage(
        deinterlace=source.field_order != "progressive",
        rotation_deg=source.rotation_deg,
        mirrored=source.mirrored,
        tone_map=tone_map,
        matrix=tags.space,
        width=width,
        height=height,
    )


def _audio(tracks: tuple[AudioFacts, ...], wanted: AudioPart) -> tuple[AudioTrackPlan, ...]:
    """Every source track in every rendition; names are unique and safe in paths and playlists."""
    plans: list[AudioTrackPlan] = []
    taken: set[str] = set()
    for track in tracks:
        language = label = re.sub(r"[^a-z0-9]", "", track.language.lower()) or "und"
        for number in range(2, len(tracks) + 2):
            if label not in taken:
                break
            label = f"{language}-{number}"
        taken.add(label)
        plans += [
            AudioTrackPlan(
                name=f"{label}-{rendition.name}",
                stream_index=track.stream_index,
                language=track.language,
                title=track.title,
                default=track.default,
                bitrate_bps=rendition.bitrate_bps,
                channels=rendition.channels,
                sample_rate_hz=rendition.sample_rate_hz,
            )
            for rendition in wanted.renditions
        ]
    return tuple(plans)


def _audio_length(info: MediaInfo, start_s: Fraction) -> float:
    ends = [track.start_s + track.duration_s for track in info.audio if track.duration_s]
    return max(ends) - float(start_s) if ends else info.duration_s
