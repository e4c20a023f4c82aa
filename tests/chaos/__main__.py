"""python -m tests.chaos: break a farm of real processes and say what it kept; `make chaos` runs it."""

import argparse
import shutil
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from benchmarks.haproxy import own_ports
from tests.chaos.farm import ChaosFarm, as_in_a_cluster, chaos_farm
from tests.chaos.report import RESULTS, judge, show, write
from tests.chaos.run import Wish, run


def main() -> int:
    """0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides what is killed, in which order and when")
    parser.add_argument("--kills", type=int, default=62)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--minutes", type=float, help="kill for so long, however many that are")
    parser.add_argument("--haproxy", action="store_true", help="with HAProxy in the place of Serve's own proxy")
    parser.add_argument("--keep-logs", action="store_true", help="copy Ray's logs beside the results")
    asked = parser.parse_args()
    wish = Wish(asked.seed, asked.kills, asked.jobs, for_s=None if asked.minutes is None else asked.minutes * 60)
    with _behind_haproxy() if asked.haproxy else chaos_farm() as farm:
        figures = judge(farm, run(farm, wish))
        path = write(figures, f"seed-{wish.seed}")
        show(figures)
        print(f"figures: {path}")
        if asked.keep_logs or figures["broken"]:
            keep_logs(farm.folder, RESULTS / f"seed-{wish.seed}-logs")
    return 1 if figures["broken"] else 0


def _behind_haproxy() -> AbstractContextManager[ChaosFarm]:
    return chaos_farm(
        as_in_a_cluster("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED", "RAY_SERVE_REPLICA_GRPC")
        | {"RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(sys.executable).with_name("farm-haproxy"))}
        | own_ports()
    )


def keep_logs(folder: Path, kept: Path) -> None:
    """Copy Ray's logs below `folder`, of processes that still run: what vanishes meanwhile is left out."""
    shutil.rmtree(kept, ignore_errors=True)
    for logs in folder.glob("**/session_2*/logs"):
        with suppress(shutil.Error, FileNotFoundError):  # Error names those left out, once the others are copied
            shutil.copytree(logs, kept / logs.relative_to(folder), symlinks=True)


if __name__ == "__main__":
    sys.exit(main())
