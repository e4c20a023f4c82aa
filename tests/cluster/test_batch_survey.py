"""The look at a batch before it is made, of sources that lie in S3: how much is read, and what would be refused."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cluster.batches import surveying
from cluster.batches.surveying import Found, look_over
from cluster.farm_settings import FarmSettings
from cluster.storage import open_storage
from cluster.storage.sources import Sources
from tests.support.media import clip
from tests.support.seaweed import Seaweed

pytestmark = pytest.mark.s3


@pytest.fixture
def settings(seaweed: Seaweed, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    storage = seaweed.settings(source_prefixes=(f"{s3_uri}/{{org}}",))
    return replace(FarmSettings.load(), storage=storage)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The parts of sources that were read: file, start and length."""
    found: list[tuple[str, int, int]] = []
    real = Sources.part

    def part(self: Sources, uri: str, start: int, length: int) -> bytes:
        found.append((uri.rpartition("/")[2], start, length))
        return real(self, uri, start, length)

    monkeypatch.setattr(Sources, "part", part)
    return found


def photo(folder: Path, name: str, size: int, **saved: Any) -> bytes:
    path = folder / name
    Image.effect_noise((size, size), 80).save(path, **saved)
    return path.read_bytes()


def looked(uri: str, settings: FarmSettings) -> Found:
    return look_over(uri, "acme", "auto", settings, None, lambda _: None)


def test_of_a_picture_the_head_is_read_and_of_a_video_both_ends(
    settings: FarmSettings, s3_uri: str, tmp_path: Path, read: list[tuple[str, int, int]]
) -> None:
    storage = open_storage(f"{s3_uri}/acme", settings.storage)
    large = photo(tmp_path, "large.jpg", 1600, quality=95)
    film = clip(width=160, height=90, frames=30).read_bytes()
    film += (9 << 20).to_bytes(4, "big") + b"free" + bytes((9 << 20) - 8)
    for name, content in (("large.jpg", large), ("film.mp4", film), ("none.txt", b"no media")):
        storage.put_bytes(name, content)
    found = looked(f"{s3_uri}/acme/", settings)
    assert (found.items, found.kinds, found.unclear) == (3, {"image": 1, "video": 1}, 0)
    assert found.refused == {"not_media": 1}
    assert found.bytes == len(large) + len(film) + 8
    assert {form.shape.width for form in found.forms.all()} == {1600, 160}
    per_file = {name: sum(length for one, _, length in read if one == name) for name, _, _ in read}
    assert len(large) > 2 * surveying.HEAD_BYTES
    assert per_file["large.jpg"] == surveying.HEAD_BYTES
    assert per_file["film.mp4"] == 2 * surveying.END_BYTES


def test_a_picture_whose_header_lies_behind_its_head_is_looked_at_again(
    settings: FarmSettings, s3_uri: str, tmp_path: Path, read: list[tuple[str, int, int]]
) -> None:
    picture = photo(tmp_path, "a.jpg", 100)
    segment = b"\xff\xec\xff\xff" + b"x" * 0xFFFD  # of a camera's own, 64 KB each
    storage = open_storage(f"{s3_uri}/acme", settings.storage)
    storage.put_bytes("a.jpg", picture[:2] + segment * 8 + picture[2:])
    found = looked(f"{s3_uri}/acme/", settings)
    assert (found.kinds, found.refused) == ({"image": 1}, {})
    assert [start for _, start, _ in read] == [0, surveying.HEAD_BYTES]


def test_what_goes_while_it_is_looked_at_is_told_as_refused_and_the_others_are_looked_at(
    settings: FarmSettings, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = photo(tmp_path, "a.jpg", 100)
    storage = open_storage(f"{s3_uri}/acme", settings.storage)
    storage.put_bytes("a.jpg", picture[:2] + (b"\xff\xec\xff\xff" + b"x" * 0xFFFD) * 8 + picture[2:])
    storage.put_bytes("b.jpg", picture)
    real = Sources.part

    def part(self: Sources, uri: str, start: int, length: int) -> bytes:
        if start:
            storage.delete("a.jpg")
        return real(self, uri, start, length)

    monkeypatch.setattr(Sources, "part", part)
    found = looked(f"{s3_uri}/acme/", settings)
    assert (found.kinds, found.refused) == ({"image": 1}, {"source_missing": 1})


def test_what_the_batch_would_refuse_is_told(settings: FarmSettings, s3_uri: str, tmp_path: Path) -> None:
    storage = open_storage(s3_uri, settings.storage)
    for name in ("acme/a.jpg", "acme/b.jpg", "other/c.jpg"):
        storage.put_bytes(name, photo(tmp_path, "x.jpg", 50))
    lines: list[dict[str, str]] = [
        {"source": f"{s3_uri}/acme/gone.jpg", "media_id": "one"},  # which leaves the name to the next
        {"source": f"{s3_uri}/acme/a.jpg", "media_id": "one"},
        {"source": f"{s3_uri}/acme/b.jpg", "media_id": "one"},
        {"source": f"{s3_uri}/other/c.jpg"},
        {"source": "file:///etc/passwd"},
    ]
    storage.put_bytes("acme/list.jsonl", "\n".join(map(json.dumps, lines)).encode())
    found = looked(f"{s3_uri}/acme/list.jsonl", settings)
    assert found.kinds == {"image": 1}
    assert found.refused == {"source_missing": 1, "invalid_item": 1, "forbidden_uri": 2}
    assert found.examples["invalid_item"].endswith("line 3: another line of this batch has its media_id")


def test_sources_are_fetched_side_by_side(
    settings: FarmSettings, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(f"{s3_uri}/acme", settings.storage)
    picture = photo(tmp_path, "x.jpg", 50)
    for number in range(12):
        storage.put_bytes(f"{number}.jpg", picture)
    real, at_once, lock, seen = Sources.part, 0, threading.Lock(), [0]

    def part(self: Sources, uri: str, start: int, length: int) -> bytes:
        nonlocal at_once
        with lock:
            at_once += 1
            seen.append(at_once)
        time.sleep(0.2)
        with lock:
            at_once -= 1
        return real(self, uri, start, length)

    monkeypatch.setattr(Sources, "part", part)
    assert looked(f"{s3_uri}/acme/", settings).kinds == {"image": 12}
    assert 4 <= max(seen) <= surveying.LOOKS_AT_ONCE
