"""What a prefix with globs names, in a folder and in a bucket."""

from pathlib import Path

import pytest

from cluster.batches import listing
from cluster.batches.listing import Listed, Passed, is_manifest, objects, parse_prefix
from cluster.errors import ForbiddenUri, SourceMissing
from cluster.settings import StorageSettings
from cluster.storage import open_storage
from tests.support.seaweed import Seaweed

NAMES = ("a.jpg", "b/c.jpg", "b/d.png", "b/e/f.jpg", "b-x/g.jpg", "é ü.jpg", ".h/i.jpg", "b/.j.jpg")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, StorageSettings]:
    """A place with all of NAMES, and the settings that lead there."""
    if request.param == "local":
        for name in NAMES:
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(b"x")
        return (tmp_path / "in").as_uri(), StorageSettings(data_dir=tmp_path)
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    uri = str(request.getfixturevalue("s3_uri"))
    settings = seaweed.settings()
    storage = open_storage(uri, settings)
    for name in NAMES:
        if "/." not in f"/{name}":  # our own storage writes none that is hidden
            storage.put_bytes(name, b"x")
    return uri, settings


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("/", {"a.jpg", "b/c.jpg", "b/d.png", "b/e/f.jpg", "b-x/g.jpg", "é ü.jpg"}),
        ("/**", {"a.jpg", "b/c.jpg", "b/d.png", "b/e/f.jpg", "b-x/g.jpg", "é ü.jpg"}),
        ("/*.jpg", {"a.jpg", "é ü.jpg"}),
        ("/**/*.jpg", {"a.jpg", "b/c.jpg", "b/e/f.jpg", "b-x/g.jpg", "é ü.jpg"}),
        ("/b/", {"b/c.jpg", "b/d.png", "b/e/f.jpg"}),
        ("/b*/*.jpg", {"b/c.jpg", "b-x/g.jpg"}),
        ("/nothing*", set()),
    ],
)
def test_a_glob_names_what_it_says(place: tuple[str, StorageSettings], glob: str, expected: set[str]) -> None:
    uri, settings = place
    found = [one.uri for one in objects(parse_prefix(uri + glob), "", settings) if isinstance(one, Listed)]
    assert len(found) == len(set(found))
    wanted = {f"{uri}/{name}" if uri.startswith("s3") else f"{uri}/{_quoted(name)}" for name in expected}
    assert set(found) == wanted


def _quoted(name: str) -> str:
    return Path("/", name).as_uri().removeprefix("file:///")


def test_from_any_cursor_on_the_rest_comes_and_nothing_twice(
    place: tuple[str, StorageSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "NAMES_AT_ONCE", 2)
    monkeypatch.setattr(listing, "S3_PAGE", 2)
    uri, settings = place
    prefix = parse_prefix(f"{uri}/")
    whole = list(objects(prefix, "", settings))
    assert len(whole) == 6
    for number, one in enumerate(whole):
        assert list(objects(prefix, one.after, settings)) == whole[number + 1 :]


def test_a_listing_in_which_little_matches_tells_how_far_it_is_and_goes_on_from_there(
    place: tuple[str, StorageSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PASSED", 2)
    uri, settings = place
    prefix = parse_prefix(f"{uri}/**/*.png")
    whole = list(objects(prefix, "", settings))
    assert [type(one) for one in whole].count(Listed) == 1
    assert [type(one) for one in whole].count(Passed) >= 1
    for number, one in enumerate(whole):
        rest = [one for one in objects(prefix, one.after, settings) if isinstance(one, Listed)]
        assert rest == [one for one in whole[number + 1 :] if isinstance(one, Listed)]


@pytest.mark.parametrize(
    ("uri", "manifest"), [("s3://b/l.csv", True), ("s3://b/l.PARQUET", True), ("s3://b/x/", False)]
)
def test_a_source_is_a_manifest_or_a_prefix(uri: str, manifest: bool) -> None:
    assert is_manifest(uri) is manifest


@pytest.mark.parametrize("uri", ["s3://b/movie.mp4", "s3://b", "file:///x", "http://a/*"])
def test_what_is_neither_is_refused(uri: str) -> None:
    with pytest.raises(ForbiddenUri):
        is_manifest(uri) or parse_prefix(uri)


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        list(objects(parse_prefix(f"{tmp_path.as_uri()}/gone/"), "", StorageSettings(data_dir=tmp_path)))
