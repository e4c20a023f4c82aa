"""What a run proves: figures as plain values, a table to read, and the promises that were broken."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from cluster.jobs import Job, JobStatus
from tests.chaos.batches import FAULTS, TERMINAL, jobs_of, judge_batches
from tests.chaos.chunks import counted, cuts_of, losses
from tests.chaos.farm import BUCKET, ChaosFarm
from tests.chaos.load import Accepted
from tests.chaos.resuming import REACH_S, beyond_reach, told, waits, was_judged
from tests.chaos.run import Run

RESULTS = Path(__file__).parent / "results"
# Overload and outages that the API tells of, and its proxy for a replica that was killed; the rest are connections that
# nobody answered, because the head was away.
INTAKE = {"202", "429", "503", "507", "ConnectError", "ReadError", "RemoteProtocolError", "ReadTimeout"}
_MANIFEST = re.compile(r"farm/([^/]+)/([^/]+)/([0-9a-f]{16})/manifest\.json")

Events = dict[str, list[tuple[str, float, dict[str, Any]]]]


def judge(farm: ChaosFarm, made: Run) -> dict[str, Any]:
    """The figures of the run; `broken` names every promise that was not kept."""
    accepted, kills = made.client.accepted, made.killer.kills
    jobs = {job.job_id: farm.store.get(job.job_id) for job in (*accepted, *made.calm.values())}
    events = events_of(farm)
    published = _published(farm)
    cuts = _cuts(farm, made)
    ended = [job for job in accepted if jobs[job.job_id].status in TERMINAL]
    starts = sorted(at for of_job in events.values() for kind, at, _ in of_job if kind == "started")
    waited = list(waits(kills, farm.head_up_at, starts, farm.front, cuts))
    figures = {
        "seed": made.wish.seed,
        "wished": {} if made.wish.for_s else {"kills": made.wish.kills, "jobs": made.wish.jobs},
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
        "batches": judge_batches(farm, made.client.batches, made.calm_batch, events),
        "one key, several jobs": [job for job, count in Counter(j.media_id for j in accepted).items() if count > 1],
        "published twice": ["/".join(item) for item, revisions in published.items() if len(revisions) > 1],
        "other than in peace": _others(made, accepted, jobs, published),
        "chunks": counted(farm.front, losses(kills, cuts)),
        "resumed_s": told(waited, kills, made.outside),
        "others had of the processors": round(made.outside.part(made.broken_from, made.broken_from + made.broken_s), 2),
        "intake": dict(made.client.answers),
        "killed at": [
            (round(kill.at - made.broken_from, 1), kill.kind, kill.where, *kill.in_hand, kill.at) for kill in kills
        ],
        "attempts": dict(Counter(jobs[job.job_id].attempts for job in accepted)),
    }
    return figures | {"broken": broken(figures)}


def _cuts(farm: ChaosFarm, made: Run) -> dict[str, list[str]]:
    """By job, the chunks of its plan: those that the same source had in peace, where every chunk was begun."""
    whole = cuts_of(farm.front.begun())
    twins = {job.job_id: made.calm[job.of].job_id for job in made.client.accepted}
    in_peace = dict(jobs_of(farm, made.calm_batch.org))
    for batch in made.client.batches:
        twins |= {job_id: in_peace[media_id] for media_id, job_id in jobs_of(farm, batch.org)}
    return {job_id: whole[twin] for job_id, twin in twins.items() if twin in whole}


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


def broken(figures: dict[str, Any]) -> list[str]:
    """The promises that were not kept, by the figures of a run."""
    jobs, batches, cut = figures["jobs"], figures["batches"], figures["chunks"]
    found = [
        f"{name}: {len(faults)}"
        for name, faults in (
            ("jobs that did not end", jobs["not ended"]),
            ("jobs that ended twice", jobs["ended twice"]),
            ("uploads or batches that were never accepted", jobs["never accepted"]),
            ("keys that made several jobs", figures["one key, several jobs"]),
            ("items published twice", figures["published twice"]),
            ("jobs with another end or other bytes than in peace", figures["other than in peace"]),
            *((f"batches: {fault}", batches[fault]) for fault in FAULTS),
        )
        if faults
    ]
    if cut["unexplained"]:
        found.append(f"{len(cut['unexplained'])} of {cut['redone']} chunks encoded again were not lost with a kill")
    found += beyond_reach(figures["resumed_s"])
    found += [f"too little was done to prove anything: {few}" for few in _too_few(figures)]
    return found + [f"intake answered {what}" for what in figures["intake"] if what not in INTAKE]


def _too_few(figures: dict[str, Any]) -> Iterator[str]:
    wished, kills, jobs = figures["wished"], figures["kills"], figures["jobs"]["accepted"]
    for what, done in (("kills", sum(kills.values())), ("jobs", jobs)):
        if done < wished.get(what, 1):
            yield f"{done} of {wished.get(what, 1)} {what}"
    if not figures["batches"]["batches"]:
        yield "no batch"


def write(figures: dict[str, Any], name: str) -> Path:
    """Store the figures as JSON; where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1))
    return path


def show(figures: dict[str, Any]) -> None:
    """Print the figures for a reader."""
    table = Table(title=f"seed {figures['seed']}", show_header=False)
    jobs, kills = figures["jobs"], figures["kills"]
    batches, cut = figures["batches"], figures["chunks"]
    rows = {
        "kills": f"{sum(kills.values())}: " + ", ".join(f"{n} {kind}" for kind, n in kills.items()),
        "jobs accepted": str(jobs["accepted"]),
        "ready": str(jobs["ready"]),
        "failed": ", ".join(f"{n} {code}" for code, n in jobs["failed"].items()) or "none",
        "not ended, ended twice, published twice": (
            f"{len(jobs['not ended'])}, {len(jobs['ended twice'])}, {len(figures['published twice'])}"
        ),
        "batches": f"{batches['batches']} of {batches['items']} items: "
        + ", ".join(f"{batches[name]} {name}" for name in ("ready", "failed", "refused")),
        "their rows ÷ rows expected, _SUCCESS": (
            f"{batches['rows']} ÷ {batches['rows expected']}, {batches['_SUCCESS']} of {batches['batches']}"
        ),
        "other end or bytes than in peace": str(len(figures["other than in peace"])),
        "chunks encoded": str(cut["encoded"]),
        "chunks redone ÷ in flight on what was killed": f"{cut['redone']} ÷ {cut['in flight on what was killed']}",
        "finished chunks encoded again, chunks redone for no kill": (
            f"{cut['finished ones encoded again']}, {len(cut['unexplained'])}"
        ),
        "intake": ", ".join(f"{n} {what}" for what, n in sorted(figures["intake"].items())),
        "others had of the processors": f"{figures['others had of the processors']:.0%}",
        "seconds": ", ".join(f"{name} {s:.0f}" for name, s in figures["seconds"].items()),
    }
    for kind, times in figures["resumed_s"].items():
        reach = "" if times["over_s"] is None else ", beyond its reach" if times["over_s"] > 0 else ", within reach"
        rows[f"resumed after {kind}"] = (
            f"{times['median']} s, at most {times['most']} s ({times['times']} times{reach})"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console(width=120)
    console.print(table)
    unjudged = [kind for kind in REACH_S if kind in kills and not was_judged(figures["resumed_s"], kind)]
    kept = "every promise was kept" + (
        f"; nothing to judge of resuming after {', '.join(unjudged)}" if unjudged else ""
    )
    console.print("\n".join(f"BROKEN: {line}" for line in figures["broken"]) or kept)
