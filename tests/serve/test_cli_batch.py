"""`farm batch` against a real server, whose batches are fed here; and the look at sources before anything is made."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from serve.batch_results import batch_table
from serve.cli import run
from serve.cli.exits import ExitCode
from serve.embedded import free_port
from serve.errors import UsageError
from tests.serve.conftest import ApiFarm, fed, listed
from tests.support.jobs import counts

Out = pytest.CaptureFixture[str]


def batch(*arguments: object) -> int:
    return run(["batch", *map(str, arguments)])


def told(capsys: Out) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_batch_is_run_to_its_end_and_its_results_are_printed_and_downloaded(
    running: ApiFarm, tmp_path: Path, capsys: Out
) -> None:
    with fed(running):
        options = ["--recipe", "web", "--org", "acme", "--kind", "image", "--priority", "normal", "--max-items", 5]
        assert batch("run", listed(running, "a", "b"), *options, "--shard", 1, "--json") == ExitCode.DONE
    document = told(capsys)
    stored = running.store.batches.get(document["batch_id"])
    assert (stored.recipe_name, stored.org, stored.kind, stored.priority) == ("web", "acme", "image", "normal")
    assert (stored.max_items, stored.shard_rows, document["counts"]["ready"]) == (5, 1, 2)
    assert batch("results", stored.id) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ready", "ready"]
    out = tmp_path / "results"
    assert batch("results", stored.id, "--out", out) == ExitCode.DONE
    assert [path.name for path in sorted(out.iterdir())] == ["part-00000.parquet", "part-00001.parquet"]
    table = batch_table(stored.id)
    assert table.column("media_id").to_pylist() == ["a", "b"]
    assert pq.read_table(out).schema.equals(table.schema)


def test_the_same_command_again_goes_on_with_the_batch_it_began(running: ApiFarm, capsys: Out) -> None:
    command = ("run", listed(running, "a", "b"), "--recipe", "web", "--json")
    assert batch(*command, "--no-wait") == ExitCode.DONE
    begun = told(capsys)
    assert begun["status"] == "listing"
    with fed(running):
        assert batch(*command) == ExitCode.DONE
    ended = told(capsys)
    assert ended["batch_id"] == begun["batch_id"]
    assert sum(counts(running.store).values()) == 2
    assert batch(*command, "--no-wait") == ExitCode.DONE
    assert told(capsys)["batch_id"] != begun["batch_id"], "that one has ended"


def test_resume_goes_on_with_a_batch_that_has_ended_and_tries_what_failed_in_it(running: ApiFarm, capsys: Out) -> None:
    command = ("run", listed(running, "a", "b"), "--recipe", "web", "--resume", "--json")
    with fed(running, failing=("b",)):
        assert batch(*command) == ExitCode.PARTLY
    first = told(capsys)
    assert (first["counts"]["ready"], first["counts"]["failed"]) == (1, 1)
    with fed(running):
        assert batch(*command) == ExitCode.DONE
    second = told(capsys)
    assert second["batch_id"] == first["batch_id"]
    assert (second["counts"]["ready"], second["counts"]["failed"]) == (2, 0)
    assert batch(*command) == ExitCode.DONE, "nothing is left to do, and nobody does it"
    assert told(capsys) == second


def test_resume_does_not_go_on_with_a_batch_that_is_being_cancelled(running: ApiFarm, capsys: Out) -> None:
    command = ("run", listed(running, "a"), "--recipe", "web", "--resume", "--no-wait", "--json")
    assert batch(*command) == ExitCode.DONE
    assert batch("cancel", told(capsys)["batch_id"], "--json") == ExitCode.DONE
    capsys.readouterr()
    assert batch(*command) != ExitCode.DONE
    assert "the batch is being cancelled" in capsys.readouterr().err


def test_out_is_the_place_of_the_results(
    running: ApiFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    assert batch("run", listed(running, "a"), "--out", tmp_path / "elsewhere") == ExitCode.USAGE
    assert "FARM_RESULT_PREFIXES" in capsys.readouterr().err


@pytest.mark.parametrize(("failing", "expected"), [(("b",), 3), (("a", "b"), 2)])
def test_the_exit_code_tells_whether_all_some_or_nothing_was_made(
    running: ApiFarm, failing: tuple[str, ...], expected: int, capsys: Out
) -> None:
    with fed(running, failing):
        assert batch("run", listed(running, "a", "b", more="not a uri,x\n")) == expected
    out, err = capsys.readouterr()
    assert f"{len(failing)} failed not_media: no media" in out
    assert "1 refused invalid_item: line 4: source must be a URI" in out
    assert "results in file://" in out
    assert err.startswith("batch ")
    (one,), _ = running.store.batches.list_batches()
    assert batch("status", one.id) == expected
    with fed(running):
        assert batch("retry", one.id, "--wait") == ExitCode.PARTLY, "a line that is none stays refused"
    assert running.store.batches.get(one.id).ready == 2


def test_a_batch_can_be_cancelled_and_has_no_results_before_it_ended(running: ApiFarm, capsys: Out) -> None:
    batch("run", listed(running, "a"), "--no-wait", "--json")
    batch_id = told(capsys)["batch_id"]
    assert batch("results", batch_id) == ExitCode.USAGE
    assert "has not ended" in capsys.readouterr().err
    with pytest.raises(UsageError):
        batch_table(batch_id)
    assert batch("cancel", batch_id) == ExitCode.DONE
    assert f"{batch_id} cancelling default" in capsys.readouterr().out
    with fed(running):
        assert batch("status", batch_id, "--wait") == ExitCode.INFRASTRUCTURE


def test_a_folder_is_a_prefix_and_a_glob_stays_one(running: ApiFarm, capsys: Out) -> None:
    running.upload("a b.jpg")
    for source, uri in ((running.uploads, "/"), (f"{running.uploads}/*.jpg", "/*.jpg")):
        assert batch("run", source, "--no-wait", "--json") == ExitCode.DONE
        assert told(capsys)["source"] == running.uploads.as_uri() + uri


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.csv"], "nothing.csv does not exist"),
        (["s3://elsewhere/list.csv"], "FARM_SOURCE_PREFIXES"),
        (["file:///x/movie.mp4"], "no manifest (.parquet, .jsonl, .csv) and no prefix"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(running: ApiFarm, arguments: list[str], said: str, capsys: Out) -> None:
    assert batch("run", *arguments) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.fixture
def mixed(small: Path, tmp_path: Path) -> Path:
    """A manifest of a clip, pictures of a format each, and a file that is none."""
    os.link(small, tmp_path / "clip.mp4")
    Image.new("RGB", (400, 300)).save(tmp_path / "photo.jpg")
    Image.new("RGB", (400, 300)).save(tmp_path / "other.png")
    (tmp_path / "notes.txt").write_text("no media")
    manifest = tmp_path / "list.jsonl"
    names = ("clip.mp4", "photo.jpg", "other.png", "notes.txt")
    manifest.write_text("".join(json.dumps((tmp_path / name).as_uri()) + "\n" for name in names))
    return manifest


def test_an_estimate_tells_work_time_bytes_and_cost_and_what_it_rests_on(
    running: ApiFarm, mixed: Path, capsys: Out
) -> None:
    assert batch("run", mixed, "--recipe", "standard", "--dry-run", "--estimate") == ExitCode.DONE
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert "1 refused not_media" in out
    assert lines["CPU"].endswith("s)")
    assert "unknown: the farm has no lanes now" in lines["time"]
    assert "MB" in lines["outputs"]
    assert "USD" in lines["cost"]
    assert "by built-in figures" in out
    assert running.store.batches.list_batches() == ([], None), "nothing is made"


def test_an_estimate_is_of_what_the_batch_would_be_asked_to_make_and_says_what_is_in_no_figure(
    running: ApiFarm, mixed: Path, capsys: Out
) -> None:
    assert batch("run", mixed, "--estimate", "--kind", "image") == ExitCode.DONE
    out = capsys.readouterr().out
    assert "1 refused unsupported_media" in out
    assert "2 items in no figure" in out, "the clip and the text"
    mixed.write_text(json.dumps({"source": (mixed.parent / "clip.mp4").as_uri(), "kind": "audio"}))
    assert batch("run", mixed, "--estimate", "--json") == ExitCode.DONE
    assert told(capsys)["kinds"] == {"audio": 1}


def test_an_estimate_can_be_read_by_programs_and_follows_the_vmaf_that_is_asked_for(
    running: ApiFarm, mixed: Path, capsys: Out
) -> None:
    hours = []
    for vmaf in ("off", "full"):
        assert batch("run", mixed, "--estimate", "--vmaf", vmaf, "--json") == ExitCode.DONE
        document = told(capsys)
        assert document["kinds"] == {"video": 1, "image": 2}
        assert (document["estimate"]["items"], document["estimate"]["unsuited"]) == (3, 0)
        hours.append(document["estimate"]["cpu_hours"]["likely"])
    assert hours[0] < hours[1]


def test_without_a_farm_there_is_no_estimate_and_that_is_said_before_anything_is_looked_at(
    mixed: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setenv("FARM_URL", f"http://127.0.0.1:{free_port()}")
    assert batch("run", mixed, "--estimate") == ExitCode.INFRASTRUCTURE
    out, err = capsys.readouterr()
    assert (out, "looked at" in err) == ("", False)
    assert batch("run", mixed, "--dry-run") == ExitCode.DONE


def test_a_dry_run_tells_by_headers_what_there_is_and_makes_nothing(small: Path, tmp_path: Path, capsys: Out) -> None:
    os.link(small, tmp_path / "clip.mp4")
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.jpg")
    Image.new("RGB", (40, 30)).save(tmp_path / "other.png")
    (tmp_path / "notes.txt").write_text("no media")
    (tmp_path / "empty.mp4").touch()
    names = ("clip.mp4", "photo.jpg", "other.png", "notes.txt", "empty.mp4", "gone.mp4")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(json.dumps((tmp_path / name).as_uri()) + "\n" for name in names) + "{\n")
    assert batch("run", manifest, "--dry-run", "--json") == ExitCode.DONE
    found = told(capsys)
    assert (found["items"], found["kinds"]) == (7, {"video": 1, "image": 2})
    assert found["seconds"]["video"] == pytest.approx(2.0, abs=0.1)
    assert found["refused"] == {"not_media": 1, "empty_file": 1, "source_missing": 1, "invalid_item": 1}
    assert found["bytes"] == sum((tmp_path / name).stat().st_size for name in names[:-1])
    assert batch("run", manifest, "--dry-run", "--max-items", 1) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines()[1] == "         1 video, 0.00 hours"
