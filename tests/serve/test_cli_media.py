import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.errors import StorageRefused
from cluster.storage.base import StoredObject
from cluster.storage.local import LocalStorage
from serve.cli import run
from serve.cli.exits import ExitCode
from tests.support.media import Sound, clip
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed

ROOT = Path(__file__).parents[2]
Out = pytest.CaptureFixture[str]


def farm(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "serve", *(str(argument) for argument in arguments)]


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def test_probe_says_what_a_file_is(small: Path, capsys: Out) -> None:
    assert farm("probe", small, "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["info"]["video"]["width"], told["index"]["frames"]) == (160, 60)
    assert farm("probe", small) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "h264 160×90" in text
    assert "60" in text


def test_transcode_makes_a_ladder_that_verify_finds_whole_until_it_is_damaged(
    small: Path, quick: Path, tmp_path: Path, capsys: Out
) -> None:
    out = tmp_path / "out"
    assert farm("transcode", small, "--out", out, "--recipe", quick, "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert [made["name"] for made in told["report"]["renditions"]] == ["low", "high"]
    assert all(made["proof"]["ok"] for made in told["report"]["renditions"])
    assert told["manifest"] == (out / "manifest.json").as_uri()
    assert (out / "hls" / "master.m3u8").is_file()
    assert not list(out.glob(".*"))

    for where in (out, out / "manifest.json", out.as_uri(), tmp_path, tmp_path.as_uri()):
        assert farm("verify", where) == ExitCode.DONE
    assert farm("verify", out, "--json") == ExitCode.DONE
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert listed["artifacts"] == len(json.loads((out / "manifest.json").read_text())["artifacts"]) > 5

    segment = next(out.glob("video/low/*.m4s"))
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")
    (out / "hls" / "master.m3u8").unlink()
    assert farm("verify", out) == ExitCode.INFRASTRUCTURE
    err = capsys.readouterr().err.splitlines()
    assert farm("verify", out, "--json") == ExitCode.INFRASTRUCTURE
    told = json.loads(capsys.readouterr().out)
    assert set(told["damaged"]) == {str(segment.relative_to(out)), "hls/master.m3u8"}
    assert (told["artifacts"], told["error"]["retryable"]) == (listed["artifacts"], False)
    assert f"{segment.relative_to(out)}: its bytes are not those published" in err
    assert "hls/master.m3u8: missing" in err
    assert err[-1].startswith("error: checksum_mismatch: 2 of ")
    assert farm("verify", tmp_path) == ExitCode.INFRASTRUCTURE
    assert "out/hls/master.m3u8: missing" in capsys.readouterr().err.splitlines()


def test_transcode_does_not_mix_its_outputs_with_those_of_another_recipe(
    small: Path, quick: Path, tmp_path: Path, capsys: Out
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps({"recipe": {"digest": "another"}}))
    assert farm("transcode", small, "--out", out, "--recipe", quick) == ExitCode.USAGE
    assert only_line(capsys.readouterr().err).startswith("error: object_exists: ")


def test_paths_may_lead_upwards(
    small: Path, quick: Path, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    (tmp_path / "clip.mp4").write_bytes(small.read_bytes())
    assert farm("transcode", "../clip.mp4", "--out", "../inner/../out", "--recipe", quick) == ExitCode.DONE
    assert farm("verify", "../out") == ExitCode.DONE
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_song_below_a_single_picture_is_kept_whole(quick: Path, tmp_path: Path, capsys: Out) -> None:
    song = clip(width=160, height=90, frames=1, audio=(Sound(seconds=9.0),))
    assert farm("transcode", song, "--out", tmp_path / "out", "--recipe", quick, "--json") == ExitCode.DONE
    report = json.loads(capsys.readouterr().out)["report"]
    assert report["audio"][0]["proof"]["samples"] == 9 * 48_000
    assert report["path"]["held_frames"] == 269
    assert {made["proof"]["frames"] for made in report["renditions"]} == {270}
    assert all(made["proof"]["ok"] for made in report["renditions"])


def test_transcode_takes_up_a_place_where_it_was_killed_before_the_manifest_stood(
    small: Path, quick: Path, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    put_bytes = LocalStorage.put_bytes

    def dies(self: LocalStorage, key: str, data: bytes, **options: Any) -> StoredObject:
        if key == "manifest.json":
            raise StorageRefused("killed here")
        return put_bytes(self, key, data, **options)

    with monkeypatch.context() as patched:
        patched.setattr(LocalStorage, "put_bytes", dies)
        assert farm("transcode", small, "--out", out, "--recipe", quick) == ExitCode.INFRASTRUCTURE
    stale = out / "hls" / "master.m3u8"
    stale.write_text("of the run that was killed")

    assert farm("transcode", small, "--out", out, "--recipe", quick) == ExitCode.DONE
    assert farm("verify", out) == ExitCode.DONE
    listed = {artifact["path"] for artifact in json.loads((out / "manifest.json").read_text())["artifacts"]}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == listed | {"manifest.json"}


def test_transcode_removes_nothing_by_a_list_that_it_did_not_write(
    small: Path, quick: Path, tmp_path: Path, capsys: Out
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "publishing.json").write_text('["holiday.mp4"]')
    (out / "holiday.mp4").touch()
    assert farm("transcode", small, "--out", out, "--recipe", quick) == ExitCode.USAGE
    assert (out / "holiday.mp4").exists()


@pytest.mark.parametrize("taken", ["holiday.mp4", "manifest.json/", "video/"])
def test_transcode_does_not_write_among_other_files(
    taken: str, small: Path, quick: Path, tmp_path: Path, capsys: Out
) -> None:
    out = tmp_path / "out"
    there = out / taken
    out.mkdir()
    if taken.endswith("/"):
        there.mkdir()
    else:
        there.touch()
    assert farm("transcode", small, "--out", out, "--recipe", quick) == ExitCode.USAGE
    line = only_line(capsys.readouterr().err)
    assert line.startswith("error: usage: ")
    assert line.endswith("choose an empty folder")
    assert list(out.iterdir()) == [there]


@pytest.mark.s3
def test_transcode_does_not_write_among_other_objects(
    small: Path, quick: Path, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    client = seaweed.client()
    client.create_bucket(Bucket="cli-tests")
    client.put_object(Bucket="cli-tests", Key="taken/holiday.mp4", Body=b"x")
    client.close()
    monkeypatch.setenv("FARM_S3_ENDPOINT", seaweed.endpoint)
    monkeypatch.setenv("FARM_S3_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("FARM_S3_SECRET_ACCESS_KEY", SECRET_KEY)
    assert farm("transcode", small, "--out", "s3://cli-tests/taken", "--recipe", quick) == ExitCode.USAGE
    line = only_line(capsys.readouterr().err)
    assert line == "error: usage: s3://cli-tests/taken holds other files already; choose an empty folder"


def test_a_manifest_that_is_none_is_said_to_be(tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "manifest.json").write_text("[1]")
    assert farm("verify", tmp_path) == ExitCode.USAGE
    assert "is not a manifest" in only_line(capsys.readouterr().err)


def test_a_manifest_cannot_make_verify_read_other_files(tmp_path: Path, capsys: Out) -> None:
    artifact = {"path": "../secret", "sha256": "0" * 64, "bytes": 1}
    folder = tmp_path / "media"
    folder.mkdir()
    (tmp_path / "secret").write_text("s")
    (folder / "manifest.json").write_text(json.dumps({"artifacts": [artifact]}))
    assert farm("verify", folder) == ExitCode.INFRASTRUCTURE
    assert "begins with a dot" in capsys.readouterr().err


def test_progress_in_a_log_is_plain_lines_on_stderr_and_the_result_is_on_stdout(
    small: Path, quick: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        command("transcode", small, "--out", tmp_path / "out", "--recipe", quick),
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    stages = done.stderr.splitlines()
    assert stages[0] == "encoding"
    assert "packaging" in stages
    assert "\x1b" not in done.stderr + done.stdout
    assert "2 of 2 renditions proven" in done.stdout


def test_progress_on_a_terminal_has_a_bar_per_rendition(small: Path, quick: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("transcode", small, "--out", tmp_path / "out", "--recipe", quick),
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(theirs)
    shown = b"".join(_everything(ours))
    assert process.wait(60) == 0
    assert b"low" in shown
    assert b"high" in shown
    assert "━".encode() in shown


def _everything(fd: int) -> Iterator[bytes]:
    try:
        while data := os.read(fd, 65536):
            yield data
    except OSError:  # what Linux says when the other end of a terminal is closed
        pass
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_ends_everything_that_was_started_and_is_the_exit_code(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    # Big and slow enough to be still encoding when it is interrupted.
    source = clip(width=1280, height=720, frames=120, options=(("preset", "ultrafast"),))
    process = psutil.Popen(
        command("transcode", source, "--out", tmp_path / "out", "--recipe", "av1"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert until(lambda: any("chunk" in child.cmdline() for child in _children(process)), 60)
    children = _children(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "farm: stopped"
    assert until(
        lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 5
    )
    assert not list((tmp_path / "scratch").glob("farm-*"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def _children(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        try:
            child.cmdline()
        except psutil.Error:
            continue
        found.append(child)
    return found


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except psutil.Error:
            pass  # a process that ended while it was looked at
        time.sleep(0.05)
    return False
