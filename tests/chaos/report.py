"""What a run proves: figures as plain values, a table to read, and the promises that were broken."""

import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from cluster.jobs import Job, JobStatus
from tests.chaos.farm import BUCKET, ChaosFarm
from tests.chaos.front import Front
from tests.chaos.kills import Kill
from tests.chaos.load import Accepted
from tests.chaos.run import Run

RESULTS = Path(__file__).parent / "results"
TERMINAL = {"ready", "failed", "cancelled"}
# Overload and outages that the API tells of, and its proxy for a replica that was killed; the rest are connections that
# nobody answered, because the head was away.
INTAKE = {"202", "429", "503", "507", "ConnectError", "ReadError", "RemoteProtocolError", "ReadTimeout"}
# For how long a kill may still cost what begins after it: a server stays away, and a head's workers are ended with it.
OVER_S = {"head": 20.0, "PostgreSQL": 5.0, "S3 server": 5.0}
DELAYING = {"dispatcher", "head", "node", "raylet", "PostgreSQL", "S3 server"}  # each holds up what others have lost
REACH_S = {"dispatcher": 10.0, "node": 10.0, "raylet": 10.0, "head": 60.0}
_CHUNK = re.compile(r"chunk (\d+) of (\S+)")
_MANIFEST = re.compile(r"farm/([^/]+)/([^/]+)/([0-9a-f]{16})/manifest\.json")

Events = dict[str, list[tuple[str, float, dict[str, Any]]]]


def judge(farm: ChaosFarm, made: Run) -> dict[str, Any]:
    """The figures of the run; `broken` names every promise that was not kept."""
    assert made.client is not None
    assert made.killer is not None
    accepted, kills = made.client.accepted, made.killer.kills
    jobs = {job.job_id: farm.store.get(job.job_id) for job in (*accepted, *made.calm.values())}
    events = events_of(farm)
    published = _published(farm)
    ended = [job for job in accepted if jobs[job.job_id].status in TERMINAL]
    told = {
        "seed": made.wish.seed,
        "seconds": {"in peace": made.calm_s, "killing": made.broken_s, "until all had ended": made.settled_s},
        "kills": dict(Counter(kill.kind for kill in kills)),
        "jobs": {
            "accepted": len(accepted),
            "ready": sum(jobs[job.job_id].status is JobStatus.READY for job in accepted),
            "failed": dict(Counter(_code(jobs[job.job_id]) for job in ended if _code(jobs[job.job_id]))),
            "not ended": [job.job_id for job in accepted if job not in ended],
            "ended twice": [
                job.job_id for job in ended if sum(kind in TERMINAL for kind, *_ in events[job.job_id]) != 1
            ],
            "never accepted": made.client.given_up,
        },
        "one key, several jobs": [job for job, count in Counter(j.media_id for j in accepted).items() if count > 1],
        "published twice": [f"{j.org}/{j.media_id}" for j in accepted if len(published[j.org, j.media_id]) > 1],
        "other than in peace": _others(made, accepted, jobs, published),
        "chunks": chunks(farm.front, [(kill.at, kill.at + OVER_S.get(kill.kind, 2.0)) for kill in kills]),
        "resumed_s": _resumed(farm, kills, events),
        "intake": dict(made.client.answers),
        "killed at": [(round(kill.at - made.broken_from, 1), kill.kind, kill.where) for kill in kills],
        "attempts": dict(Counter(jobs[job.job_id].attempts for job in accepted)),
    }
    return told | {"broken": _broken(told)}


def chunks(front: Front, broken: Sequence[tuple[float, float]] = ((0.0, math.inf),)) -> dict[str, Any]:
    """How often chunks were begun and ended, by what was asked of storage.

    One that was begun again was lost in flight, unless all its renditions had been stored by then, or nothing was
    broken (in these spans of Unix time) since it was begun before.
    """
    begun, ended = front.begun(), front.ended()
    redone = sum(len(times) - 1 for times in begun.values())
    lost = 0
    for (job, span), times in begun.items():
        first_ends = [all_at[0] for (of, where, _), all_at in ended.items() if (of, where) == (job, span)]
        done_at = max(first_ends, default=math.inf)
        for this, following in pairwise(times):
            lost += following <= done_at and any(begins <= following and this <= ends for begins, ends in broken)
    again = sum(len(times) - 1 for times in ended.values())
    return {"encoded": len(begun), "redone": redone, "lost in flight": lost, "finished ones encoded again": again}


def events_of(farm: ChaosFarm) -> Events:
    """What the store wrote down of each job, in order: kind, Unix time, data."""
    found: Events = defaultdict(list)
    with psycopg.connect(farm.postgres.url("farm")) as connection:
        rows = connection.execute("SELECT job_id, kind, at, data FROM job_events ORDER BY seq").fetchall()
    for job_id, kind, at, data in rows:
        found[job_id].append((kind, at.timestamp(), data))
    return found


def _published(farm: ChaosFarm) -> dict[tuple[str, str], dict[str, list[tuple[str, str]]]]:
    """By org and media item: the revisions that a manifest announces, with path and SHA-256 of their artifacts."""
    found: dict[tuple[str, str], dict[str, list[tuple[str, str]]]] = defaultdict(dict)
    s3 = farm.s3()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="farm/"):
        for item in page.get("Contents", []):
            if match := _MANIFEST.fullmatch(item["Key"]):
                manifest = json.loads(s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read())
                artifacts = sorted((a["path"], a["sha256"]) for a in manifest["artifacts"])
                found[match[1], match[2]][match[3]] = artifacts
    s3.close()
    return found


def _others(made: Run, accepted: list[Accepted], jobs: dict[str, Job], published: Any) -> list[str]:
    """Jobs whose end or bytes are not those of the same input in peace."""
    found = []
    for job in accepted:
        calm, here = made.calm[job.of], jobs[job.job_id]
        there = jobs[calm.job_id]
        if here.status not in TERMINAL:
            continue
        bytes_here = published[job.org, job.media_id].get(here.revision)
        bytes_there = published[calm.org, calm.media_id].get(there.revision)
        if (here.status, _code(here), here.revision, bytes_here) != (
            there.status, _code(there), there.revision, bytes_there
        ):  # fmt: skip
            found.append(f"{job.job_id} {job.of.source}: {here.status} {_code(here)} {here.revision}")
    return found


def _code(job: Job) -> str:
    return str((job.error or {}).get("code", "")) if job.status is JobStatus.FAILED else ""


def _resumed(farm: ChaosFarm, kills: list[Kill], events: Events) -> dict[str, dict[str, Any]]:
    """Seconds from a kill until what was in hand is worked on again; of a head, from when it is back.

    What had to wait for another loss too is told by itself: a reach is of one loss.
    """
    begun = farm.front.begun()
    starts = sorted(at for of_job in events.values() for kind, at, _ in of_job if kind == "started")
    found: dict[str, list[float]] = defaultdict(list)
    for kill in kills:
        if kill.kind == "dispatcher":
            found[kill.kind] += _first(starts, kill.at)
        elif kill.kind == "head":
            found[kill.kind] += [s for up in farm.head_up_at if up > kill.at for s in _first(starts, up)][:1]
        for chunk in in_hand(begun, kill.in_hand):
            if any(at <= kill.at for at in begun[chunk]):
                for waited_s in _first(begun[chunk], kill.at):
                    delayed = any(0 < other.at - kill.at < waited_s and other.kind in DELAYING for other in kills)
                    found[kill.kind + ", with another loss before it was" * delayed].append(waited_s)
    return {
        kind: {"times": len(all_s), "median": round(statistics.median(all_s), 1), "most": round(max(all_s), 1)}
        for kind, all_s in found.items()
        if all_s
    }


def in_hand(begun: Iterable[tuple[str, str]], steps: Iterable[str]) -> set[tuple[str, str]]:
    """Those of the chunks, by (job, bytes of the frame map), that `steps` ("chunk 0 of JOB") are."""
    found = set()
    for step in steps:
        if match := _CHUNK.fullmatch(step):
            spans = sorted((span for job, span in begun if job == match[2]), key=lambda s: int(s.split("-")[0]))
            if int(match[1]) < len(spans):
                found.add((match[2], spans[int(match[1])]))
    return found


def _first(times: list[float], after: float) -> list[float]:
    return [at - after for at in times if at > after][:1]


def _broken(told: dict[str, Any]) -> list[str]:
    jobs, cut = told["jobs"], told["chunks"]
    broken = [
        f"{name}: {len(told_of)}"
        for name, told_of in (
            ("jobs that did not end", jobs["not ended"]),
            ("jobs that ended twice", jobs["ended twice"]),
            ("uploads that were never accepted", jobs["never accepted"]),
            ("keys that made several jobs", told["one key, several jobs"]),
            ("items published twice", told["published twice"]),
            ("jobs with another end or other bytes than in peace", told["other than in peace"]),
        )
        if told_of
    ]
    if cut["redone"] > cut["lost in flight"]:
        broken.append(f"{cut['redone']} chunks were encoded again, {cut['lost in flight']} were lost in flight")
    broken += [f"intake answered {what}" for what in told["intake"] if what not in INTAKE]
    return broken


def write(told: dict[str, Any], name: str) -> Path:
    """Store the figures as JSON; where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(told, indent=1))
    return path


def show(told: dict[str, Any]) -> None:
    """Print the figures for a reader."""
    table = Table(title=f"seed {told['seed']}", show_header=False)
    jobs, cut = told["jobs"], told["chunks"]
    rows = {
        "kills": f"{sum(told['kills'].values())}: " + ", ".join(f"{n} {kind}" for kind, n in told["kills"].items()),
        "jobs accepted": str(jobs["accepted"]),
        "ready": str(jobs["ready"]),
        "failed": ", ".join(f"{n} {code}" for code, n in jobs["failed"].items()) or "none",
        "not ended, ended twice, published twice": (
            f"{len(jobs['not ended'])}, {len(jobs['ended twice'])}, {len(told['published twice'])}"
        ),
        "other end or bytes than in peace": str(len(told["other than in peace"])),
        "chunks encoded": str(cut["encoded"]),
        "chunks redone ÷ lost in flight": f"{cut['redone']} ÷ {cut['lost in flight']}",
        "intake": ", ".join(f"{n} {what}" for what, n in sorted(told["intake"].items())),
        "seconds": ", ".join(f"{name} {s:.0f}" for name, s in told["seconds"].items()),
    }
    for kind, times in told["resumed_s"].items():
        reach = f", reach {REACH_S[kind]:.0f} s" if kind in REACH_S else ""
        rows[f"resumed after {kind}"] = (
            f"{times['median']} s, at most {times['most']} s ({times['times']} times{reach})"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console(width=120)
    console.print(table)
    console.print("\n".join(f"BROKEN: {line}" for line in told["broken"]) or "every promise was kept")
