"""What the farm is given while it is broken: small clips and pictures, handed over as README tells a client to."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.chaos.farm import BUCKET, SOURCES_URI, ChaosFarm
from tests.support.media import Sound, clip

ORGS = ("acme", "globex")
PATIENCE_S = 240.0  # of a client that retries


@dataclass(frozen=True)
class Input:
    """One source with the recipe that it is turned by."""

    source: str
    recipe: str
    is_bad: bool = False


def make_inputs(farm: ChaosFarm) -> tuple[list[Input], list[Input]]:
    """Clips and pictures, stored where sources may come from; the last of each cannot be turned."""
    s3 = farm.s3()

    def stored(path: Path, name: str) -> str:
        s3.upload_file(str(path), BUCKET, f"in/{name}")
        return f"{SOURCES_URI}/{name}"

    small = {"width": 320, "height": 180, "fps": 10, "gop": 10}
    short = clip(frames=90, **small)
    sounding = clip(frames=125, audio=(Sound(seconds=12.5),), **small)
    long = clip(frames=170, **small)
    noise = farm.folder / "noise"
    noise.write_bytes(random.Random(1).randbytes(5000))
    clips = [
        Input(stored(short, "short.mp4"), "tiny"),
        Input(stored(sounding, "sounding.mp4"), "pair"),
        Input(stored(long, "long.mp4"), "tiny"),
        Input(stored(noise, "noise.mp4"), "tiny", is_bad=True),
    ]
    pictures = []
    for number, suffix in enumerate(("jpg", "png", "jpg", "gif")):
        path = farm.folder / f"picture-{number}.{suffix}"
        gradient = Image.linear_gradient("L").resize((160 + 40 * number, 120)).convert("RGB")
        gradient.save(path)
        pictures.append(Input(stored(path, path.name), "thumbs"))
    cut = farm.folder / "cut.jpg"
    cut.write_bytes((farm.folder / "picture-2.jpg").read_bytes()[:900])
    pictures.append(Input(stored(cut, "cut.jpg"), "thumbs", is_bad=True))
    s3.close()
    return clips, pictures


@dataclass
class Accepted:
    """A job that the farm promised to do."""

    job_id: str
    org: str
    media_id: str
    of: Input


@dataclass(frozen=True)
class AcceptedBatch:
    """A batch that the farm promised to do, for an org of its own."""

    batch_id: str
    org: str


@dataclass
class Client:
    """Hands uploads over, each with a key of its own, again and again until it is answered 202."""

    farm: ChaosFarm
    accepted: list[Accepted] = field(default_factory=list)
    batches: list[AcceptedBatch] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)  # by status, or by what broke
    given_up: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def complete(self, media_id: str, org: str, given: Input) -> Accepted | None:
        """Hand one over; None when the farm never took it."""
        body = {"source": given.source, "recipe": given.recipe, "org": org}
        answer = self._ask_until_taken(f"media/{media_id}/complete", media_id, body)
        if answer is None:
            return None
        job = Accepted(answer["job_id"], org, media_id, given)
        with self._lock:
            self.accepted.append(job)
        return job

    def batch(self, org: str, manifest: str) -> AcceptedBatch | None:
        """Hand a batch over, of class bulk as always; None when the farm never took it."""
        answer = self._ask_until_taken("batches", org, {"source": manifest, "recipe": "mixed", "org": org})
        if answer is None:
            return None
        batch = AcceptedBatch(answer["batch_id"], org)
        with self._lock:
            self.batches.append(batch)
        return batch

    def knock(self, media_id: str, org: str, given: Input) -> None:
        """Hand one over that was handed over before, and note whether that made another job."""
        body = {"source": given.source, "recipe": given.recipe, "org": org}
        answer = self._ask(f"media/{media_id}/complete", media_id, body)
        if answer is not None and answer.status_code == 202:
            job = Accepted(answer.json()["job_id"], org, media_id, given)
            with self._lock:
                if job not in self.accepted:
                    self.accepted.append(job)

    def _ask_until_taken(self, path: str, key: str, body: dict[str, Any]) -> Any:
        """What is answered with 202; None when that never came."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            answer = self._ask(path, key, body)
            if answer is not None and answer.status_code == 202:
                return answer.json()
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                break  # refused for good
            wait_s = float(answer.headers.get("retry-after", 1)) if answer is not None else 1.0
            time.sleep(min(wait_s, 5.0) * random.uniform(0.7, 1.3))
        with self._lock:
            self.given_up.append(key)
        return None

    def _ask(self, path: str, key: str, body: dict[str, Any]) -> httpx.Response | None:
        url = f"{self.farm.url}/v1/{path}"
        try:
            answer = httpx.post(url, json=body, headers={"Idempotency-Key": key}, timeout=30, trust_env=False)
        except httpx.HTTPError as error:
            self._count(type(error).__name__)
            return None
        self._count(_told(answer))
        return answer

    def _count(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1


def _told(answer: httpx.Response) -> str:
    """The status; of a refusal that is for good also who it is from: the API names a code, Serve does not."""
    status = str(answer.status_code)
    if not 400 <= answer.status_code < 500 or status == "429":
        return status
    is_ours = answer.headers.get("content-type", "").startswith("application/problem+json")
    return f"{status} {answer.json()['code'] if is_ours else 'of Serve: ' + answer.text[:60]}"
