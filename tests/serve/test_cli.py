import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field
from pydantic_settings import BaseSettings

from cluster.errors import SettingsInvalid, StoreUnavailable, WorkerLost
from cluster.settings import CONFIG, load
from ladders.errors import UnknownRecipe
from pipelines.errors import EncodeFailed, ProofFailed, RejectedMedia
from serve.auth import new_key
from serve.cli import farm_commands, run
from serve.cli.exits import ExitCode, exit_code
from serve.doctor import examine
from serve.embedded import free_port
from serve.findings import Finding

Out = pytest.CaptureFixture[str]


def farm(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


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
        (["probe", "/dev/null"], "is not a regular file"),
        (["transcode", __file__, "--out", ""], "--out is empty"),
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


def test_only_the_setting_that_is_wrong_is_named(small: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setenv("FARM_STORAGE_URI", "ftp://nowhere")
    monkeypatch.setenv("FARM_DATABASE_URL", "mysql://nowhere")
    assert farm("probe", small) == ExitCode.USAGE
    err = only_line(capsys.readouterr().err)
    assert err == "error: settings_invalid: FARM_STORAGE_URI: must begin with file:/// or s3://"


def test_a_default_that_hangs_on_a_wrong_setting_is_no_second_complaint() -> None:
    class Nested(BaseSettings):
        model_config = CONFIG
        first: int = 1
        second: int = Field(default_factory=lambda data: int(data["first"]))

    with pytest.raises(SettingsInvalid) as caught:
        load(Nested, first="many")
    assert "FARM_FIRST" in caught.value.public_message
    assert "FARM_SECOND" not in caught.value.public_message


@pytest.mark.parametrize("folder", ["/proc", "{file}", "{file}/below"])
def test_a_scratch_folder_that_cannot_be_is_named(
    folder: str, small: Path, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("FARM_SCRATCH_DIR", folder.format(file=tmp_path / "taken"))
    assert farm("transcode", small, "--out", tmp_path / "out", "--recipe", quick) == ExitCode.USAGE
    assert "FARM_SCRATCH_DIR" in only_line(capsys.readouterr().err)


def test_data_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path / "taken"))
    assert farm("db", "upgrade") == ExitCode.USAGE
    assert "FARM_DATA_DIR" in only_line(capsys.readouterr().err)


def test_help_is_on_stdout_and_no_error(capsys: Out) -> None:
    assert farm("--help") == ExitCode.DONE
    assert farm("transcode", "--help") == ExitCode.DONE
    assert "transcode" in capsys.readouterr().out


# Exit codes


def test_the_exit_code_tells_whose_fault_it_is() -> None:
    assert {exit_code(cls("x")) for cls in RejectedMedia.every_class()} == {ExitCode.REJECTED}
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


def test_an_error_that_nobody_foresaw_is_one_line_too_and_its_traceback_is_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    def broken() -> None:
        raise RuntimeError("the moon\nis full")

    monkeypatch.setattr(farm_commands, "new_key", lambda *_: broken())
    assert farm("keys", "new", "--id", "ci") == ExitCode.INFRASTRUCTURE
    line = only_line(capsys.readouterr().err)
    assert line == "error: internal_error: RuntimeError: the moon is full (set FARM_DEBUG=1 for the traceback)"
    monkeypatch.setenv("FARM_DEBUG", "1")
    assert farm("keys", "new", "--id", "ci", "--json") == ExitCode.INFRASTRUCTURE
    out, err = capsys.readouterr()
    assert "Traceback" in err
    assert json.loads(out)["error"]["code"] == "internal_error"


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


def test_a_recipe_of_pictures_alone_is_listed_shown_and_checked(capsys: Out) -> None:
    assert farm("recipes", "list") == ExitCode.DONE
    assert re.search("^web  +Pictures for pages", capsys.readouterr().out, re.MULTILINE)
    assert farm("recipes", "show", "avatar") == ExitCode.DONE
    assert yaml.safe_load(capsys.readouterr().out)["image"]["variants"][0]["crop"] == "attention"
    assert farm("recipes", "check", "web") == ExitCode.DONE
    assert capsys.readouterr().out == "web: fine, 10 encoders opened\n"


def test_a_broken_recipe_is_named_and_the_others_are_still_checked(quick: Path, tmp_path: Path, capsys: Out) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\nvideo: {rungs: []}\n")
    assert farm("recipes", "check", broken, quick) == ExitCode.USAGE
    out, err = capsys.readouterr()
    named, total = err.splitlines()
    assert named.startswith(f"{broken}: invalid_recipe: video.rungs: ")
    assert named.count(str(broken)) == 1
    assert "farm recipes check" not in err
    assert total == "error: usage: 1 recipe cannot be used"
    assert out == f"{quick}: fine, 3 encoders opened\n"


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


def test_doctor_says_which_farm_could_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def api() -> Finding:
        (finding,) = [found for found in examine() if found.name == "api"]
        return finding

    monkeypatch.setenv("FARM_PORT", str(free_port()))
    assert api().ok
    assert "only `farm up`" in api().reason
    _, entry = new_key("ci")
    monkeypatch.setenv("FARM_API_KEYS", entry)
    assert "FARM_API_KEYS" in api().reason
    for name, value in (
        ("FARM_API_KEYS", "foo"),
        ("FARM_WEBHOOK_SECRETS", "foo"),
        ("FARM_CALLBACK_HOSTS", "a.example"),
    ):
        with monkeypatch.context() as wrong:
            wrong.setenv(name, value)
            assert (api().ok, api().needed) == (False, True)
            assert name in api().reason


def test_doctor_says_what_is_wrong_and_that_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FARM_STORAGE_URI", (tmp_path / "file" / "below").as_uri())
    monkeypatch.setenv("FARM_DATABASE_URL", "postgresql://farm@127.0.0.1:1/farm")
    assert farm("doctor", "--json") == ExitCode.INFRASTRUCTURE
    wrong = {found["name"] for found in json.loads(capsys.readouterr().out) if found["needed"] and not found["ok"]}
    assert wrong == {"storage", "job store"}
