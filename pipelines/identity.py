"""What a rendition is, as one name: whoever has made one of that name need not make it again.

A name is a digest of everything that decides a rendition: the source, each output frame and its time, the GOP grid, the
filters, the encoder with its options, the engine. How finely the video was cut is left out: that is the cluster's
business of the day, and however it was, the rendition was proven on the same grid.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipelines.plan import AudioTrackPlan, Plan, RenditionPlan, VideoPlan
from pipelines.version import engine_version
from pipelines.wire import to_wire

# What manifests and files are called, and which files there are, changes no packet.
NOT_OF_A_RENDITION = ("name", "mp4")
NOT_OF_A_TRACK = ("name", "title", "default")


def identities(plan: Plan, source: Sequence[str]) -> dict[str, str]:
    """The name of every rendition and track of `plan`, by its folder: ``video/{rung}`` or ``audio/{track}``.

    `source` says which bytes the plan is of, such as its URI and its etag.
    """
    names = {f"audio/{track.name}": _track(plan, track, source) for track in plan.audio}
    if plan.video is not None:
        names |= {f"video/{r.name}": _rendition(plan.video, r, source) for r in plan.video.renditions}
    return names


def _rendition(video: VideoPlan, rendition: RenditionPlan, source: Sequence[str]) -> str:
    shared = to_wire(replace(video, renditions=(), chunks=()))
    return _digest("video", source, shared, _without(rendition, NOT_OF_A_RENDITION))


def _track(plan: Plan, track: AudioTrackPlan, source: Sequence[str]) -> str:
    # Below a picture sound is cut or filled to its length; alone it is as long as it is.
    length_s = plan.duration_s if plan.video is not None else None
    return _digest("audio", source, [to_wire(plan.start_s), length_s], _without(track, NOT_OF_A_TRACK))


def _without(planned: Any, fields: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in to_wire(planned).items() if name not in fields}


def _digest(kind: str, source: Sequence[str], *inputs: Any) -> str:
    value = [kind, engine_version(), list(source), *inputs]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
