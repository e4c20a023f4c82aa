"""How much time a media process gets, by what it has to do."""

import pytest

from cluster.farm_settings import WorkSettings
from cluster.tools import process_limits
from pipelines.limits import Limits

GB = 1_000_000_000
SLOW_DECODE_S = 0.1  # a frame of 8192 pixels' width, on one busy core


def test_inspecting_has_time_to_decode_the_longest_video_that_is_allowed() -> None:
    longest = process_limits(WorkSettings(), "inspect", size_bytes=4 * GB)
    assert longest.wall_s > Limits().max_frames * SLOW_DECODE_S
    assert longest.cpu_s > longest.wall_s, "the kernel's clock does not fire before ours"
    short = WorkSettings(limits=Limits(max_frames=1000))
    assert process_limits(short, "inspect", size_bytes=GB).wall_s < longest.wall_s / 10


def test_a_small_file_has_no_time_for_an_hour_that_it_cannot_hold() -> None:
    small = process_limits(WorkSettings(), "inspect", size_bytes=2000)
    assert small.wall_s < 150
    assert small.stall_s < 30, "one that hangs is known in half a minute"


@pytest.mark.parametrize("command", ["inspect", "audio"])
def test_a_large_file_has_time_to_be_read_to_its_end_however_little_of_it_is_wanted(command: str) -> None:
    read_s = 6 * GB / 30_000_000  # a slow disk
    limits = process_limits(WorkSettings(), command, size_bytes=6 * GB, duration_s=30.0)
    assert limits.wall_s > read_s
    assert limits.stall_s > read_s, "nothing is heard while packets of other streams go by"
