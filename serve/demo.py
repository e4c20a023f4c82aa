"""`make demo`: a real clip through the whole farm on this machine, over HTTP, and what came of it."""

import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rich.console import Console

from ladders.errors import FarmError
from serve.cli.exits import ExitCode, report
from serve.cli.progress import display
from serve.cli.report_table import print_places, print_report, print_stages
from serve.client import FarmClient
from serve.demo_page import write_page
from serve.embedded import EmbeddedFarm, free_port
from serve.errors import FarmRefused, UsageError
from serve.interrupts import in_own_session
from serve.settings import ClientSettings

CLIPS = Path("tests/media")
DATA = Path("farm-demo")


def main() -> int:
    """Run the demo; the exit code comes back."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended politely, it cleans up as after Ctrl-C
    try:
        _demo()
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except FarmError as error:
        return report(error, as_json=False)
    return ExitCode.DONE


def _demo() -> None:
    console = Console(soft_wrap=True, highlight=False)
    clip = _clip()
    started = time.monotonic()
    console.print("demo: starting Ray, the dispatcher and the API on this machine …")
    with EmbeddedFarm(port=free_port(), data_dir=DATA, isolated=True) as farm:
        ready_s = time.monotonic() - started
        console.print(f"demo: the farm answers at {farm.url} ({ready_s:.1f} s)")
        with FarmClient(ClientSettings(url=farm.url, api_key=SecretStr(""))) as client:
            video, took_s = _turn(clip.resolve().as_uri(), "standard", client, console)
            _show(video, took_s, console)
            poster = next(made["url"] for made in video["artifacts"] if made["path"].startswith("poster/"))
            console.print("\ndemo: the same call with a picture, the poster of that video")
            picture, took_s = _turn(poster, "web", client, console)
            _show(picture, took_s, console)
        page = write_page(DATA / "demo.html", video, picture)
        console.print(f"\ndemo: to look at all of it, open {page.resolve().as_uri()}")
        console.print(f"demo: try it yourself: farm up --data {DATA}, then farm submit {clip} --wait", style="dim")
        stopping = time.monotonic()
    console.print(f"demo: everything is shut down ({time.monotonic() - stopping:.1f} s)")


def _clip() -> Path:
    clips = sorted(CLIPS.glob("*720p*"))
    if not clips:
        raise UsageError(f"there is no 720p clip in {CLIPS}; run the demo in the repository's root (`make demo`)")
    return clips[0]


def _turn(source: str, recipe: str, client: FarmClient, console: Console) -> tuple[dict[str, Any], float]:
    """Hand a source over, follow its job, and fetch what was made of it."""
    key = media_id = f"demo-{uuid.uuid4().hex[:12]}"
    body = {"source": source, "recipe": recipe, "metadata": {"from": "make demo"}}
    console.print(f"demo: POST /v1/media/{media_id}/complete with {source}, recipe {recipe}")
    began = time.monotonic()
    accepted = client.complete(media_id, body, key)
    answered_ms = (time.monotonic() - began) * 1000
    console.print(f"demo: 202 after {answered_ms:.0f} ms, job {accepted['job_id']}")
    again = client.complete(media_id, body, key)
    assert again == accepted, "the same idempotency key gives the same answer"
    with display(as_json=False) as shown:
        for _, data in client.events(accepted["job_id"]):
            if data.get("progress"):
                shown.update(data["progress"])
    return client.media(media_id, accepted["org"]), time.monotonic() - began


def _show(media: dict[str, Any], took_s: float, console: Console) -> None:
    if media["status"] != "ready":
        error = media["error"] or {"code": media["status"], "message": "the job did not end well"}
        raise FarmRefused(error["message"], code=error["code"])
    made = media["report"]
    console.print(f"\n{_source(made)} became, in {took_s:.1f} s:\n")
    print_report(made, console)
    console.print()
    print_stages(made, console)
    console.print()
    print_places(media["artifacts"])


def _source(report: dict[str, Any]) -> str:
    source = report["source"]
    if report["kind"] == "image":
        return f"a {source['width']}×{source['height']} {source['format']} picture"
    size = f"{source['video']['display_width']}×{source['video']['display_height']}, " if source["video"] else ""
    return f"{size}{report['duration_s']:.1f} s of video"


if __name__ == "__main__":
    sys.exit(in_own_session(main))
