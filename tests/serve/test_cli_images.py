"""`farm resize`: folders of pictures in, a folder for each out."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from cluster.errors import WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.images import local
from cluster.work import Work
from serve.cli import run
from serve.cli.exits import ExitCode
from serve.cli.image_inputs import files_of

Out = pytest.CaptureFixture[str]
AVATAR = ["images/s150.jpg", "images/s150.webp", "images/s300.jpg", "images/s300.webp", "manifest.json"]


def farm(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def resize(*arguments: object) -> int:
    return farm("resize", *arguments, "--recipe", "avatar")


def picture(path: Path, **saved: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((400, 300)).convert("RGB").save(path, **saved)
    return path


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    picture(folder / "a.jpg")
    picture(folder / "holiday" / "ein Bild (1).png")
    (folder / "notes.txt").write_text("not a picture")
    picture(folder / ".hidden" / "b.jpg")
    return folder


def test_a_folder_becomes_a_folder_for_each_picture_and_what_is_none_is_left_out(
    photos: Path, tmp_path: Path, capsys: Out
) -> None:
    out = tmp_path / "out"
    assert resize(photos, "--out", out) == ExitCode.DONE
    assert "2 pictures made" in capsys.readouterr().out
    wanted = [f"{name}/{path}" for name in ("a.jpg", "holiday/ein Bild (1).png") for path in AVATAR]
    assert below(out) == sorted(wanted)
    with Image.open(out / "a.jpg" / "images" / "s150.jpg") as small:
        assert small.size == (150, 150)
    assert farm("verify", out / "holiday" / "ein Bild (1).png") == ExitCode.DONE


def test_a_second_run_does_what_is_left_and_nothing_twice(photos: Path, tmp_path: Path, capsys: Out) -> None:
    out = tmp_path / "out"
    assert resize(photos, "--out", out) == ExitCode.DONE
    made = {path: (out / path).stat().st_mtime_ns for path in below(out)}
    picture(photos / "new.jpg")
    capsys.readouterr()
    assert resize(photos, "--out", out, "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["made"], told["already"], told["failed"]) == (["new.jpg"], ["a.jpg", "holiday/ein Bild (1).png"], [])
    assert {path: (out / path).stat().st_mtime_ns for path in made} == made


def test_a_bad_picture_is_named_while_the_others_are_made(photos: Path, tmp_path: Path, capsys: Out) -> None:
    whole = (photos / "a.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    assert resize(photos, "--out", out) == ExitCode.PARTLY
    told = capsys.readouterr()
    assert "error: truncated_media: cut.jpg: " in told.err
    assert "2 pictures made, 1 failed" in told.out
    assert not (out / "cut.jpg").exists()


def test_when_every_picture_is_refused_so_is_the_command(tmp_path: Path, capsys: Out) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("words " * 100)
    assert resize(text, "--out", tmp_path / "out") == ExitCode.REJECTED
    assert capsys.readouterr().err.count("error: not_media: text.jpg: ") == 1


def test_pictures_of_the_same_name_are_told_apart_by_the_folder_above_them(tmp_path: Path, capsys: Out) -> None:
    first, second = picture(tmp_path / "x" / "a.jpg"), picture(tmp_path / "y" / "a.jpg")
    assert resize(first, second, "--out", tmp_path / "out") == ExitCode.USAGE
    assert "both become a.jpg" in capsys.readouterr().err
    assert resize(first, first, "--out", tmp_path / "out") == ExitCode.DONE


def test_outputs_inside_the_input_are_not_turned_again(photos: Path, capsys: Out) -> None:
    assert resize(photos, "--out", photos / "small") == ExitCode.DONE
    assert resize(photos, "--out", photos / "small", "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["made"], len(told["already"])) == ([], 2)


def test_outputs_are_not_turned_again_through_links_either(photos: Path, tmp_path: Path, capsys: Out) -> None:
    (photos / "small").mkdir()
    (tmp_path / "link").symlink_to(photos / "small")
    assert resize(photos, "--out", tmp_path / "link") == ExitCode.DONE
    (photos / "back").symlink_to(photos / "small")
    (photos / "back.jpg").symlink_to(photos / "small" / "a.jpg" / "images" / "s150.jpg")
    capsys.readouterr()
    assert resize(photos, "--out", tmp_path / "link", "--json") == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["made"], len(told["already"])) == ([], 2)


def test_a_linked_folder_is_not_gone_through_while_a_linked_picture_is_turned(tmp_path: Path) -> None:
    picture(tmp_path / "else" / "b.jpg")
    picture(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "folder").symlink_to(tmp_path / "else")
    (tmp_path / "photos" / "c.jpg").symlink_to(tmp_path / "else" / "b.jpg")
    assert list(files_of([tmp_path / "photos"], tmp_path / "out")) == ["a.jpg", "c.jpg"]


def test_outputs_never_go_among_the_pictures_given(photos: Path, tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "link").symlink_to(photos)
    picture(photos / "photos" / "c.jpg")
    for given, out in ((photos, photos), (photos, tmp_path / "link"), (photos / "a.jpg", photos), (photos, tmp_path)):
        before = below(photos)
        assert resize(given, "--out", out) == ExitCode.USAGE
        told = capsys.readouterr().err
        assert "would lie among the pictures given" in told
        assert "resized" in told
        assert below(photos) == before
    (photos / "photos" / "c.jpg").unlink()
    assert list(files_of([photos], tmp_path)) == ["a.jpg", "holiday/ein Bild (1).png"]  # none of them would


def test_a_name_that_is_no_utf_8_is_a_name_like_any_other(tmp_path: Path, capsys: Out) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    odd = os.fsdecode(b"\xff.jpg")
    picture(photos / odd)
    picture(photos / "a.jpg")
    (photos / os.fsdecode(b"\xfe.jpg")).write_bytes((photos / "a.jpg").read_bytes()[:700])
    assert resize(photos, "--out", out, "--json") == ExitCode.PARTLY
    told = json.loads(capsys.readouterr().out)
    assert told["made"] == ["a.jpg", "\\xff.jpg"]
    assert [failed["file"] for failed in told["failed"]] == ["\\xfe.jpg"]
    assert below(out / odd) == AVATAR
    assert resize(photos, "--out", out) == ExitCode.PARTLY
    assert ": \\xfe.jpg: " in capsys.readouterr().err


def test_a_name_never_commands_the_terminal(photos: Path, tmp_path: Path, capsys: Out) -> None:
    picture(photos / "red\x1b[31m\nerror: done\u202e.jpg")
    assert resize(photos, "--out", tmp_path / "out") == ExitCode.PARTLY
    told = capsys.readouterr().err
    assert ": red\\x1b[31m\\nerror: done\\u202e.jpg: " in told
    assert resize(tmp_path / "no\x1b[31m.jpg", "--out", tmp_path / "out") == ExitCode.USAGE
    told += capsys.readouterr().err
    assert "no\\x1b[31m.jpg does not exist" in told
    assert not {"\x1b", "\u202e"} & set(told)


def test_what_an_interrupt_cut_off_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine:
        def __init__(self, *_: object, **__: object) -> None:
            self.begun, self.cancelled = threading.Event(), threading.Event()

        def turn(self, works: list[Work], tell: local.OnDone) -> None:
            if works[0].job_id == "a":
                assert self.begun.wait(10)
                raise KeyboardInterrupt
            self.begun.set()
            assert self.cancelled.wait(10)
            tell(works[0].job_id, {"infra_error": WorkerLost("cancelled").to_wire()})

        def cancel(self, _: str) -> None:
            self.cancelled.set()

        def close(self) -> None: ...

    monkeypatch.setattr(local, "ImageEngine", Engine)
    monkeypatch.setenv("FARM_SLOTS", "2")
    told: list[str] = []
    works = [Work(name, "o", "m", "u", "e", {}, "d", "image", "o", "s", "", 2) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        local.turn_here(works, FarmSettings.load(), lambda name, _: told.append(name))
    assert told == []


def test_another_picture_or_recipe_never_overwrites_what_is_there(photos: Path, tmp_path: Path, capsys: Out) -> None:
    out = tmp_path / "out"
    assert resize(photos / "a.jpg", "--out", out) == ExitCode.DONE
    made = below(out)
    assert farm("resize", photos / "a.jpg", "--out", out, "--recipe", "web") == ExitCode.USAGE
    assert "error: object_exists: a.jpg: " in capsys.readouterr().err
    assert below(out) == made


def test_wrong_input_is_said_before_any_work(photos: Path, tmp_path: Path, capsys: Out) -> None:
    out = tmp_path / "out"
    assert farm("resize", photos, "--out", out, "--recipe", "audio") == ExitCode.REJECTED
    assert "no image part" in capsys.readouterr().err
    assert resize(tmp_path / "missing.jpg", "--out", out) == ExitCode.USAGE
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert resize(tmp_path / "empty", "--out", out) == ExitCode.USAGE
    assert "no picture" in capsys.readouterr().err
    assert not out.exists() or below(out) == []


def test_a_picture_is_probed_and_transcoded_like_a_video(photos: Path, tmp_path: Path, capsys: Out) -> None:
    assert farm("probe", photos / "a.jpg") == ExitCode.DONE
    assert "jpeg 400×300" in capsys.readouterr().out
    out = tmp_path / "out"
    assert farm("transcode", photos / "a.jpg", "--out", out, "--recipe", "avatar") == ExitCode.DONE
    assert below(out) == AVATAR


def test_ctrl_c_ends_everything_and_a_later_run_goes_on(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number in range(60):
        Image.linear_gradient("L").resize((3000, 2000)).convert("RGB").save(
            picture(photos / f"{number:02}.jpg"), quality=95
        )
    line = [sys.executable, "-m", "serve", "resize", str(photos), "--out", str(out), "--recipe", "archive"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as started:
        deadline = time.monotonic() + 60
        while not list(out.glob("*/manifest.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(started.pid).children(recursive=True)
        os.kill(started.pid, signal.SIGINT)
        _, told = started.communicate(timeout=20)
    assert b"worker_lost" not in told  # what was cut off is no failure of its own
    assert started.returncode == ExitCode.INTERRUPTED
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    done = {path.parent for path in out.glob("*/manifest.json")}
    assert 0 < len(done) < 60
    for path in list(photos.iterdir()):
        if not (out / path.name).exists():
            path.unlink()
    assert farm("resize", photos, "--out", out, "--recipe", "archive") == ExitCode.DONE
    assert all((folder / "manifest.json").is_file() for folder in out.iterdir())
    assert not list(out.rglob("publishing.json"))
