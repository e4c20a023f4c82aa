"""Many items are read back from every kind of storage, and what is damaged is named by its key."""

import hashlib
import json

import pytest

from cluster import verify as verify_module
from cluster.errors import ObjectMissing
from cluster.storage import Storage
from cluster.verify import verify_below


def publish(storage: Storage, folder: str, **files: bytes) -> None:
    listed = [
        {"path": f"video/{name}", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
    ]
    for name, data in files.items():
        storage.put_bytes(f"{folder}/video/{name}", data)
    storage.put_bytes(f"{folder}/manifest.json", json.dumps({"artifacts": listed}).encode())


def test_all_items_below_a_place_are_read_and_each_damage_has_its_key(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "READ_BYTES", 1000)
    monkeypatch.setattr(verify_module, "AHEAD", 2)
    publish(storage, "acme/a/r1", one=bytes(2500), two=b"two", three=b"")
    publish(storage, "acme/b/r1", one=b"1", two=b"22", three=b"333")
    storage.put_bytes("scratch/job/manifest.json", b"not looked at")
    whole = verify_below(storage)
    assert (whole.manifests, whole.artifacts, whole.damaged) == (2, 6, {})

    storage.put_bytes("acme/a/r1/video/one", bytes(2499) + b"x")
    storage.put_bytes("acme/b/r1/video/two", b"2")
    storage.delete("acme/b/r1/video/three")
    storage.put_bytes("globex/c/r1/manifest.json", b"[]")
    assert verify_below(storage).damaged == {
        "acme/a/r1/video/one": "its bytes are not those published",
        "acme/b/r1/video/two": "1 bytes instead of 2",
        "acme/b/r1/video/three": "missing",
        "globex/c/r1/manifest.json": "is not a manifest.json of the farm",
    }


def test_a_place_without_a_manifest_is_not_called_whole(storage: Storage) -> None:
    storage.put_bytes("acme/a/r1/video/one", b"1")
    with pytest.raises(ObjectMissing):
        verify_below(storage)
