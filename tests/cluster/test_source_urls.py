"""Which URIs are read, and which tricks are not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ForbiddenUri
from cluster.storage.urls import AllowedSources, Place, parse_place


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("file:///srv/in/a.mp4", Place("file", "", "/srv/in/a.mp4")),
        ("file://localhost/srv/a.mp4", Place("file", "", "/srv/a.mp4")),
        ("file:///srv/a%20b/%C3%BC%23.mp4", Place("file", "", "/srv/a b/ü#.mp4")),
        ("s3://uploads/in/a b#1?.mp4", Place("s3", "uploads", "in/a b#1?.mp4")),
        ("s3://uploads/100%25 or 50%.mp4", Place("s3", "uploads", "100%25 or 50%.mp4")),
        ("s3://uploads//odd//key", Place("s3", "uploads", "/odd//key")),
        ("s3://uploads", Place("s3", "uploads", "")),
        ("s3://uploads/", Place("s3", "uploads", "")),
    ],
)
def test_a_plain_uri_is_read_as_it_stands(uri: str, place: Place) -> None:
    assert parse_place(uri) == place


@pytest.mark.parametrize(
    "uri",
    [
        *("", "/srv/in/a.mp4", "srv/in/a.mp4", "C:\\in\\a.mp4", "file:", "file://", "file:/srv/a", "file:srv/a"),
        *("http://host/a", "https://host/a", "ftp://host/a", "gopher://host/a", "data:,x", "concat:a|b", "pipe:0"),
        *("FILE:///srv/a", "File:///srv/a", "S3://uploads/a", " s3://uploads/a", "\tfile:///srv/a"),
        *("file://host/srv/a", "file://127.0.0.1/srv/a", "file://user@localhost/srv/a", "file:////etc/passwd"),
        *("file:///srv/../etc/passwd", "file:///srv/./a", "file:///srv/%2e%2e/etc", "file:///srv/.%2E/etc"),
        *("file:///srv/%252e%252e/etc", "file:///srv/%25252e%25252e/etc", "file:///srv/%25252525252e%252525252e/x"),
        *("file:///srv/a%2fb", "file:///srv/a%252Fb", "file:///srv/a\\..\\b", "file:///srv/a%5cb", "file:///srv//a"),
        *("file:///srv/a?b", "file:///srv/a#b", "file:///srv/a%00.mp4", "file:///srv/a%0a.mp4", "file:///srv/a\nb"),
        *("s3://uploads/in/../secret", "s3://uploads/in/./a", "s3://uploads/..", "s3://uploads/%2e%2e/secret"),
        *("s3://uploads/in/%2E./secret", "s3://uploads/in/..%2fsecret", "s3://uploads/in%2f..%2fsecret"),
        *("s3://uploads/%252e%252e/secret", "s3://uploads/a%5c..%5cb", "s3://uploads/a\\b", "s3://uploads/a\0b"),
        *("s3://user:pass@uploads/a", "s3://user@uploads/a", "s3://uploads:443/a", "s3://Uploads/a", "s3://up_loads/a"),
        *("s3:///a", "s3://a/b", "s3://uploads\\@evil/a", "s3://uploads/\ud800", f"s3://uploads/{'x' * 1025}"),
        *(f"file:///{'x' * 5000}", "s3://-uploads/a", "s3://uploads-/a", "s3://uploads%2fother/a", "s3://üploads/a"),
    ],
)
def test_a_uri_that_could_be_read_in_two_ways_is_refused(uri: str) -> None:
    with pytest.raises(ForbiddenUri):
        parse_place(uri)


def test_sources_come_only_from_below_the_allowed_places() -> None:
    allowed = AllowedSources(["s3://uploads/in/", "s3://archive", "s3://other/no-slash"])
    for uri in ("s3://uploads/in/a", "s3://uploads/in/deep/er/a", "s3://archive/a", "s3://other/no-slash/a"):
        allowed.check(uri)
    for uri in (
        *("s3://uploads/a", "s3://uploads/in", "s3://uploads/in-private/a", "s3://uploads/IN/a", "s3://uploads-2/in/a"),
        *("s3://uploads", "s3://archive.evil/a", "s3://archive2/a", "s3://other/no-slash-private/a", "s3://other/a"),
        *("s3://uploads//in/a", "file:///uploads/in/a", "file:///in/a"),
    ):
        with pytest.raises(ForbiddenUri):
            allowed.check(uri)


def test_an_empty_list_allows_nothing() -> None:
    for uri in ("s3://uploads/a", "file:///srv/a"):
        with pytest.raises(ForbiddenUri):
            AllowedSources([]).check(uri)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("in", "in-private", "secret"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_bytes(b"x")
    return tmp_path


def test_files_come_only_from_below_the_allowed_folders(tree: Path) -> None:
    allowed = AllowedSources([(tree / "in").as_uri()])
    assert allowed.check((tree / "in" / "a.mp4").as_uri()).path == str((tree / "in" / "a.mp4").resolve())
    for path in (tree / "in-private" / "a.mp4", tree / "secret" / "a.mp4", Path("/etc/passwd"), tree / "in"):
        with pytest.raises(ForbiddenUri):
            allowed.check(path.as_uri())


def test_a_link_in_an_allowed_folder_leads_nowhere_else(tree: Path) -> None:
    allowed = AllowedSources([f"{(tree / 'in').as_uri()}/"])
    (tree / "in" / "file-link.mp4").symlink_to(tree / "secret" / "a.mp4")
    (tree / "in" / "folder-link").symlink_to(tree / "secret")
    (tree / "in" / "neighbour").symlink_to("../in-private")
    (tree / "in" / "fine.mp4").symlink_to("a.mp4")
    for name in ("file-link.mp4", "folder-link/a.mp4", "neighbour/a.mp4"):
        with pytest.raises(ForbiddenUri):
            allowed.check((tree / "in" / name).as_uri())
    assert allowed.check((tree / "in" / "fine.mp4").as_uri()).path == str((tree / "in" / "a.mp4").resolve())


def test_an_allowed_folder_may_itself_be_a_link(tree: Path) -> None:
    (tree / "uploads").symlink_to(tree / "in")
    allowed = AllowedSources([(tree / "uploads").as_uri()])
    assert allowed.check((tree / "uploads" / "a.mp4").as_uri()).path == str((tree / "in" / "a.mp4").resolve())
    with pytest.raises(ForbiddenUri):
        allowed.check((tree / "in" / "a.mp4").as_uri())


def test_a_forbidden_file_is_refused_alike_whether_it_exists_or_not(tree: Path) -> None:
    allowed = AllowedSources([(tree / "in").as_uri()])
    answers = []
    for name in ("a.mp4", "nothing.mp4"):
        with pytest.raises(ForbiddenUri) as caught:
            allowed.check((tree / "secret" / name).as_uri())
        answers.append(caught.value.public_message)
    assert answers[0] == answers[1]


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "//",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "\\",
        "%25",
        "%",
        "in",
        "a",
        "secret",
        "..%2f",
        "%00",
        "é",
        "@",
        ":",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_no_mixture_of_tricks_leaves_the_allowed_folder(tail: str) -> None:
    import os
    from urllib.parse import unquote

    allowed = AllowedSources(["file:///srv/in/", "s3://uploads/in/"])
    for root, base in (("/srv/in", "file:///srv/in/"), ("in", "s3://uploads/in/")):
        try:
            place = allowed.check(base + tail)
        except ForbiddenUri:
            continue
        # However often somebody behind us decodes and normalises the path, it stays below the folder.
        path = place.path
        for _ in range(6):
            assert os.path.normpath(path).startswith(root), path
            path = unquote(path)


def test_every_place_given_in_the_settings_is_checked_at_the_start() -> None:
    for prefix in ("/srv/in", "http://host/in", "s3://uploads/../x"):
        with pytest.raises(ForbiddenUri):
            AllowedSources([prefix])
