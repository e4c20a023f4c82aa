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
import yaml

from cluster.errors import StoreUnavailable, WorkerLost
from ladders.errors import UnknownRecipe
from pipelines.errors import EncodeFailed, ProofFailed, RejectedMedia, every_class
from serve.cli import run
from serve.cli.exits import ExitCode, exit_code
from tests.support.media import Sound, clip

ROOT = Path(__file__).parents[2]
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))


@pytest.fixture(scope="session")
def small() -> Path:
    """Two seconds that take a moment to encode."""
    return clip(width=160, height=90, frames=60, audio=(Sound(),))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A recipe of the user's own, as cheap as one can be."""
    path = tmp_path / "quick.yaml"
    rungs = [
        {"name": "low", "width": 128, "height": 72, "crf": 30},
        {"name": "high", "width": 160, "height": 90, "crf": 30},
    ]
    video = {"codec": {"name": "h264", "preset": "ultrafast"}, "rungs": rungs}
    audio = {"renditions": [{"name": "a", "bitrate_bps": 64_000}]}
    stills = {"poster": False, "sprites": False}
    recipe = {"name": "quick", "video": video, "audio": audio, "stills": stills, "vmaf": "off"}
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def farm(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "serve", *(str(argument) for argument in arguments)]


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


# What goes wrong before any work


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "No such command"),
        (["probe"], "Missing argument"),
        (["transcode", "x.mp4"], "--out"),
        (["probe", "/no/such/file.mp4"], "does not exist"),
        (["probe", "/"], "directory"),
        (["transcode", "/no/such/file.mp4", "--out", "/tmp/x"], "does not exist"),
        (["recipes", "show", "standrd"], "did you mean standard?"),
        (["recipes", "show", "mine.yaml"], "mine.yaml"),
        (["verify", "/no/such/folder"], "does not exist"),
        (["keys", "new", "--id", "Not Fine"], "--id"),
        (["up", "--port", "70000"], "port"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line_and_exit_code_1(arguments: list[str], words: str, capsys: Out) -> None:
    assert farm(*arguments) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert only_line(err).startswith("error: ")
    assert words in err


@pytest.mark.parametrize("out", ["{file}", "{file}/below", "/proc/nowhere"])
def test_an_output_that_cannot_be_written_is_found_before_any_work(
    out: str, small: Path, quick: Path, tmp_path: Path, capsys: Out
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("something else")
    assert farm("transcode", small, "--out", out.format(file=taken), "--recipe", quick) == ExitCode.USAGE
    assert only_line(capsys.readouterr().err).startswith("error: usage: ")


def test_a_setting_that_cannot_work_is_named(small: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setenv("FARM_SLOTS", "many")
    assert farm("probe", small) == ExitCode.USAGE
    assert "FARM_SLOTS" in only_line(capsys.readouterr().err)


def test_help_is_on_stdout_and_no_error(capsys: Out) -> None:
    assert farm("--help") == ExitCode.DONE
    assert farm("transcode", "--help") == ExitCode.DONE
    assert "transcode" in capsys.readouterr().out


# Exit codes


def test_the_exit_code_tells_whose_fault_it_is() -> None:
    assert {exit_code(cls("x")) for cls in every_class(RejectedMedia)} == {ExitCode.REJECTED}
    for error in (ProofFailed("x"), EncodeFailed("x"), StoreUnavailable("x"), WorkerLost("x")):
        assert exit_code(error) == ExitCode.INFRASTRUCTURE
    assert exit_code(UnknownRecipe("x")) == ExitCode.USAGE
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4, 130]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.mp4", b"", "empty_file"),
        ("page.mp4", b"<!DOCTYPE html><p>not a video", "not_media"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist_refused"),
    ],
)
@pytest.mark.parametrize("verb", ["probe", "transcode"])
def test_rejected_media_is_exactly_one_line_with_its_code_and_exit_code_2(
    verb: str, name: str, content: bytes, code: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    more = ("--out", tmp_path / "out") if verb == "transcode" else ()
    assert farm(verb, source, *more) == ExitCode.REJECTED
    out, err = capfd.readouterr()
    assert out == ""
    assert only_line(err).startswith(f"error: {code}: ")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_with_json_an_error_is_the_one_document_on_stdout(tmp_path: Path, capsys: Out) -> None:
    source = tmp_path / "empty.mp4"
    source.touch()
    assert farm("probe", source, "--json") == ExitCode.REJECTED
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "empty_file"
    assert only_line(err).startswith("error: empty_file: ")


# Work


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

    for where in (out, out / "manifest.json", out.as_uri()):
        assert farm("verify", where) == ExitCode.DONE
    assert farm("verify", out, "--json") == ExitCode.DONE
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert listed["artifacts"] == len(json.loads((out / "manifest.json").read_text())["artifacts"]) > 5

    segment = next(out.glob("video/low/*.m4s"))
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")
    (out / "hls" / "master.m3u8").unlink()
    assert farm("verify", out) == ExitCode.INFRASTRUCTURE
    err = capsys.readouterr().err.splitlines()
    assert f"{segment.relative_to(out)}: its bytes are not those published" in err
    assert "hls/master.m3u8: missing" in err
    assert err[-1].startswith("error: checksum_mismatch: 2 of ")


def test_transcode_does_not_mix_its_outputs_with_those_of_another_recipe(
    small: Path, quick: Path, tmp_path: Path, capsys: Out
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps({"recipe": {"digest": "another"}}))
    assert farm("transcode", small, "--out", out, "--recipe", quick) == ExitCode.USAGE
    assert only_line(capsys.readouterr().err).startswith("error: object_exists: ")


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


def test_ctrl_c_ends_everything_that_was_started_and_exits_with_130(tmp_path: Path) -> None:
    # Big and slow enough to be still encoding when it is interrupted.
    source = clip(width=1280, height=720, frames=120, options=(("preset", "ultrafast"),))
    process = psutil.Popen(
        command("transcode", source, "--out", tmp_path / "out", "--recipe", "av1"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert until(lambda: any("chunk" in child.cmdline() for child in _children(process)), 60)
    children = _children(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
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


# The farm's own commands


def test_a_new_key_is_accepted_by_the_entry_beside_it(capsys: Out) -> None:
    from serve.auth import identify, parse_keys

    assert farm("keys", "new", "--id", "ci", "--org", "acme", "--json") == ExitCode.DONE
    made = json.loads(capsys.readouterr().out)
    assert identify(parse_keys(made["entry"]), f"Bearer {made['key']}").org == "acme"


def test_recipes_are_listed_shown_and_checked(quick: Path, capsys: Out) -> None:
    assert farm("recipes", "list", "--json") == ExitCode.DONE
    assert "standard" in [recipe["name"] for recipe in json.loads(capsys.readouterr().out)]
    assert farm("recipes", "show", "preview") == ExitCode.DONE
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "preview"
    assert farm("recipes", "check", quick, "preview") == ExitCode.DONE
    assert capsys.readouterr().out.count("fine") == 2


def test_a_broken_recipe_is_named_and_the_others_are_still_checked(quick: Path, tmp_path: Path, capsys: Out) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\nvideo: {rungs: []}\n")
    assert farm("recipes", "check", broken, quick) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert "invalid_recipe" in err
    assert "quick.yaml: fine" in out


def test_the_job_store_is_made_ready(tmp_path: Path, capsys: Out) -> None:
    for _ in range(2):
        assert farm("db", "upgrade") == ExitCode.DONE
    assert (tmp_path / "data" / "farm.db").is_file()
    capsys.readouterr()


def test_doctor_gives_a_reason_for_every_answer(capsys: Out) -> None:
    assert farm("doctor", "--json") == ExitCode.DONE
    findings: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert {"h264", "packager", "vmaf", "scratch", "storage", "job store"} <= {found["name"] for found in findings}
    assert all(found["reason"] for found in findings)
    assert all(found["ok"] for found in findings if found["needed"])


def test_doctor_says_what_is_wrong_and_that_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FARM_STORAGE_URI", (tmp_path / "file" / "below").as_uri())
    monkeypatch.setenv("FARM_DATABASE_URL", "postgresql://farm@127.0.0.1:1/farm")
    assert farm("doctor", "--json") == ExitCode.INFRASTRUCTURE
    wrong = {found["name"] for found in json.loads(capsys.readouterr().out) if found["needed"] and not found["ok"]}
    assert wrong == {"storage", "job store"}
