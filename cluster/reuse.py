"""Renditions and tracks that the media item's last revision has already: noted once, and then taken instead of made.

What is taken is noted before the plan is, one object each, so that every step agrees. A note is forgotten when what it
promises turns out to be damaged, gone or not provable: then the steps that would have made the rendition make it.
A rendition without an identity in its report (`pipelines.identity`) is never taken, nor one of which more VMAF is asked
than was measured. VMAF and encoding costs of what is taken are carried over and marked.

The segments, or the file for download, go through the join again. That gives the same bytes for H.264, AV1 and AAC,
whose priming is in the init segment's edit list. HEVC loses `sdtp`, x265's hints which frames can be skipped: no
segment has them, so only a file for download that is newly asked for lacks them. Of a full run of a 720p clip (43.6 s
of CPU) an added 240p rung cost 16 %, a dropped rung 4 %.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cluster.errors import ObjectMissing, ResultsDamaged
from cluster.pieces import Piece, find
from cluster.publish import MANIFEST
from cluster.tools import Tools
from cluster.work import Names, Work
from pipelines.errors import MediaError, MediaTimeout, ProofFailed, RejectedMedia
from pipelines.identity import identities
from pipelines.plan import Plan
from pipelines.report import carried
from pipelines.wire import from_wire, to_wire

log = logging.getLogger(__name__)

VMAF_MODES = ("off", "sampled", "full")  # each says all that the one before it says


@dataclass(frozen=True, slots=True)
class Taken:
    """One rendition or track of an earlier revision."""

    folder: str  # video/{rung} or audio/{track}, of the job that takes it
    revision: str  # that it was made for
    keys: tuple[str, ...]  # files that make one MP4, in order, in the output storage
    sha256: tuple[str, ...]  # of each, by the earlier manifest
    facts: dict[str, Any]  # that the report carries over

    @property
    def as_reported(self) -> dict[str, Any]:
        """What the new report is told of it."""
        return self.facts | {"reused_from": self.revision}


def names_of(plan: Plan, work: Work) -> dict[str, str]:
    """The identity of everything that `plan` makes, by folder."""
    return identities(plan, (work.source_uri, work.source_etag))


def note_earlier(plan: Plan, work: Work, where: Names, tools: Tools) -> None:
    """Note what the revision that `work` names has of `plan`; nothing when it is not readable, or made otherwise."""
    if work.earlier_manifest_key is None:
        return
    try:
        manifest = json.loads(tools.output.get_bytes(work.earlier_manifest_key))
        found = _found(plan, names_of(plan, work), manifest, work.earlier_manifest_key.removesuffix(MANIFEST))
    except ObjectMissing:
        return
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # damaged, a picture's, of another version
        log.warning("nothing is taken from %s: %r", work.earlier_manifest_key, error)
        return
    for taken in found:
        if tools.output.stat(taken.keys[0]) is not None:  # not every revision is kept for ever
            tools.scratch.put_bytes(where.taken(taken.folder), json.dumps(to_wire(taken)).encode())


def _found(plan: Plan, wanted: Mapping[str, str], manifest: dict[str, Any], base: str) -> list[Taken]:
    report = manifest["report"]
    sha256 = {artifact["path"]: artifact["sha256"] for artifact in manifest["artifacts"]}
    earlier = [("video", entry) for entry in report["renditions"]] + [("audio", entry) for entry in report["audio"]]
    found = []
    for kind, entry in earlier:
        same = [folder for folder, identity in wanted.items() if identity == entry.get("identity")]
        paths = _paths(kind, entry["name"], sha256)
        if not same or not paths or (kind == "video" and not _measured(entry, plan.vmaf)):
            continue
        made_for = entry["reused_from"] or manifest["revision"]
        keys, sums = tuple(base + path for path in paths), tuple(sha256[path] for path in paths)
        found += [Taken(folder, made_for, keys, sums, carried(kind, entry)) for folder in same]
    return found


def _paths(kind: str, name: str, published: Mapping[str, str]) -> list[str]:
    """The files of a rendition that make one MP4: the one for download where there is one, else all segments."""
    file, folder = f"mp4/{name}.mp4", f"{kind}/{name}/"
    if kind == "video" and file in published:
        return [file]
    # By length first: the number after 99999 has a digit more.
    segments = sorted((path for path in published if path.startswith(f"{folder}seg_")), key=lambda p: (len(p), p))
    return [f"{folder}init.mp4", *segments] if segments and f"{folder}init.mp4" in published else []


def _measured(entry: dict[str, Any], wanted: str) -> bool:
    return VMAF_MODES.index(entry["vmaf_mode"]) >= VMAF_MODES.index(wanted)


def taken_folders(where: Names, tools: Tools) -> set[str]:
    """The folders of everything that is taken."""
    return {where.taken_folder(found.key) for found in tools.scratch.list(where.all_taken)}


def read_taken(where: Names, tools: Tools) -> dict[str, Taken]:
    """All that is taken, by folder; a note that cannot be read is forgotten, with ResultsDamaged."""
    notes = {}
    for folder in taken_folders(where, tools):
        try:
            notes[folder] = from_wire(Taken, json.loads(tools.scratch.get_bytes(where.taken(folder))))
        except (ObjectMissing, ValueError, TypeError, AttributeError) as error:
            forget([folder], where, tools, f"the note cannot be read: {error}")
    return notes


def fetch_taken(notes: Mapping[str, Taken], where: Names, folder: Path, tools: Tools) -> dict[str, tuple[str, ...]]:
    """Local files of everything that is taken; ResultsDamaged when some are not what was published."""
    pieces = [
        Piece(key, sha256, where.taken(name))
        for name, taken in notes.items()
        for key, sha256 in zip(taken.keys, taken.sha256, strict=True)
    ]
    found = find(pieces, folder, tools.output)
    lost = {piece.facts_key for piece, path in zip(pieces, found, strict=True) if path is None}
    if lost:
        damaged = [name for name in notes if where.taken(name) in lost]
        forget(damaged, where, tools, "files of an earlier revision are damaged or gone")
    paths = iter(found)
    return {name: tuple(str(next(paths)) for _ in taken.keys) for name, taken in notes.items()}


@contextmanager
def provable(notes: Mapping[str, Taken], where: Names, tools: Tools) -> Iterator[None]:
    """What is joined and packaged inside holds its proofs, or everything that is taken is forgotten and made."""
    try:
        yield
    except MediaError as error:
        refused = isinstance(error.__cause__, RejectedMedia) and not isinstance(error.__cause__, MediaTimeout)
        if not notes or not (refused or isinstance(error, ProofFailed)):
            raise  # a slow machine, a full disk: nothing against what is taken
        forget(list(notes), where, tools, error.public_message)


def forget(folders: Sequence[str], where: Names, tools: Tools, why: str) -> NoReturn:
    """Have these made after all: raises ResultsDamaged, so that the steps that make them come again."""
    for folder in folders:
        tools.scratch.delete(where.taken(folder))
    raise ResultsDamaged(f"{', '.join(folders)} cannot be taken: {why}", detail={"keys": list(folders)})
