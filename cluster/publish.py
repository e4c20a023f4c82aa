"""Putting a finished media item where the CDN finds it: artifacts first, the manifest last.

The folder of a revision is named after its content, so a worker that was thought dead and comes back can only write
the same bytes again, or write beside; what is announced is what the manifest lists.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ObjectExists
from cluster.storage import Storage
from cluster.storage.base import Check, unwatched
from cluster.work import Work, digest
from pipelines.errors import ProofFailed

MANIFEST = "manifest.json"
STARTED = "publishing.json"
"""At a place that was asked for: what is about to be written there; gone once the manifest stands."""
UPLOADS_AT_ONCE = 8  # segments are small: latency, not bandwidth, is what an upload costs

IMMUTABLE = "public, max-age=31536000, immutable"
SHORT = "public, max-age=60"  # players re-read playlists; a take-down shows within a minute

# suffix -> (content type, cache control)
KINDS = {
    ".m3u8": ("application/vnd.apple.mpegurl", SHORT),
    ".mpd": ("application/dash+xml", SHORT),
    ".m4s": ("video/iso.segment", IMMUTABLE),
    ".mp4": ("video/mp4", IMMUTABLE),
    ".vtt": ("text/vtt", IMMUTABLE),
    ".jpg": ("image/jpeg", IMMUTABLE),
    ".webp": ("image/webp", IMMUTABLE),
    ".avif": ("image/avif", IMMUTABLE),
    ".png": ("image/png", IMMUTABLE),
    ".json": ("application/json", SHORT),
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a media item; `path` is relative to the item's folder."""

    path: str
    sha256: str
    bytes: int
    content_type: str
    cache_control: str


@dataclass(frozen=True, slots=True)
class Published:
    """Where a media item is announced."""

    manifest_key: str
    revision: str
    bytes: int  # of all artifacts


def artifacts_in(folder: Path) -> list[Artifact]:
    """Every file below `folder`, sorted by path."""
    artifacts = []
    for root, _, names in folder.walk():  # which takes links to folders for files, and does not follow them
        for path in (root / name for name in names):
            if path.is_symlink():  # it could lead to any file of the worker, and publish it
                raise ProofFailed(f"a media process left a link among the outputs: {path.name}")
            if path.is_file():
                artifacts.append(_artifact(path, path.relative_to(folder).as_posix()))
    return sorted(artifacts, key=lambda artifact: artifact.path.split("/"))


def _artifact(path: Path, relative: str) -> Artifact:
    content_type, cache_control = KINDS[path.suffix]
    if relative.startswith("audio/") and path.suffix == ".mp4":
        content_type = "audio/mp4"
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Artifact(relative, sha256, path.stat().st_size, content_type, cache_control)


def publish(folder: Path, report: dict[str, Any], work: Work, storage: Storage, check: Check = unwatched) -> Published:
    """Upload `folder`, then its manifest; `check` is called before each file.

    Publishing the same content twice is one publication: the manifest that is there stands, and a file that was
    damaged or removed meanwhile is put back. ObjectExists when other content is at the very place that was asked for,
    ProofFailed when there is nothing to publish.
    """
    artifacts = artifacts_in(folder)
    if not artifacts:
        raise ProofFailed("the job made nothing that could be published")
    revision = digest([work.recipe_digest, [[a.path, a.sha256] for a in artifacts]])
    prefix = work.publish_prefix
    if prefix is None:
        prefix = f"{work.org}/{work.media_id}/{revision}"
    base = f"{prefix}/" if prefix else ""
    published = Published(base + MANIFEST, revision, sum(a.bytes for a in artifacts))
    there = _is_there(published, storage)
    if work.publish_prefix is not None and not there:
        storage.put_bytes(base + STARTED, _started(artifacts))
    _upload_all(artifacts, folder, base, storage, check)
    if not there:
        body = json.dumps(_manifest(artifacts, revision, report, work), indent=1, ensure_ascii=False).encode()
        content_type, cache_control = KINDS[".json"]
        try:
            storage.put_bytes(
                published.manifest_key, body, content_type=content_type, cache_control=cache_control, if_absent=True
            )
        except ObjectExists:
            _is_there(published, storage)
    if work.publish_prefix is not None:
        storage.delete(base + STARTED)
    return published


def clear_unfinished(storage: Storage) -> None:
    """Remove what a publication to the root of `storage` left that was killed before its manifest stood."""
    if storage.stat(STARTED) is None:
        return
    try:
        paths = [str(path) for path in json.loads(storage.get_bytes(STARTED))["unfinished_artifacts"]]
    except (ValueError, KeyError, TypeError):  # somebody else's file of that name
        return
    if storage.stat(MANIFEST) is None:
        for path in paths:
            storage.delete(path)
    storage.delete(STARTED)


def _started(artifacts: list[Artifact]) -> bytes:
    return json.dumps({"unfinished_artifacts": [artifact.path for artifact in artifacts]}).encode()


def _upload_all(artifacts: list[Artifact], folder: Path, base: str, storage: Storage, check: Check) -> None:
    if len(artifacts) == 1:  # a thread would take longer to start than a small file to write
        _upload(artifacts[0], folder, base, storage, check)
        return
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        for done in [pool.submit(_upload, artifact, folder, base, storage, check) for artifact in artifacts]:
            done.result()


def _upload(artifact: Artifact, folder: Path, base: str, storage: Storage, check: Check) -> None:
    check()
    storage.put_file(
        base + artifact.path,
        folder / artifact.path,
        content_type=artifact.content_type,
        cache_control=artifact.cache_control,
    )


def _is_there(published: Published, storage: Storage) -> bool:
    """Whether this very revision is announced already; ObjectExists when another one is at its place."""
    if storage.stat(published.manifest_key) is None:
        return False
    try:
        revision = json.loads(storage.get_bytes(published.manifest_key))["revision"]
    except (ValueError, KeyError, TypeError):
        revision = None
    if revision != published.revision:
        place = storage.url(published.manifest_key)
        raise ObjectExists(f"{place} belongs to another media item: choose another place or remove it")
    return True


def _manifest(artifacts: list[Artifact], revision: str, report: dict[str, Any], work: Work) -> dict[str, Any]:
    return {
        "manifest_version": 1,
        "org": work.org,
        "media_id": work.media_id,
        "revision": revision,
        "recipe": {"name": work.recipe["name"], "digest": work.recipe_digest},
        "artifacts": [
            {
                "path": a.path,
                "sha256": a.sha256,
                "bytes": a.bytes,
                "content_type": a.content_type,
                "cache_control": a.cache_control,
            }
            for a in artifacts
        ],
        "report": report,
    }
