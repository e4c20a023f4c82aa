"""Every file of the media collection, inspected as a job does it: in a media process of its own."""

import time

import pytest

from cluster.media_process import Watch, run_media
from pipelines.confine import ProcessLimits
from pipelines.errors import MediaError, RejectedMedia
from pipelines.inspect import Inspected, InspectRequest
from pipelines.limits import Limits
from tests.support.corpus import Row, params

pytestmark = pytest.mark.corpus

SECONDS = 30.0  # until every file must be known or refused
PROCESS = ProcessLimits(
    wall_s=SECONDS, stall_s=SECONDS, memory_bytes=6_000_000_000, cpu_s=60, file_bytes=1
)  # an inspection writes nothing


def inspected(row: Row) -> Inspected | MediaError:
    """What a media process says of the file; anything but a result or a typed error propagates."""
    asked = InspectRequest(str(row.path), Limits())
    try:
        return run_media("inspect", asked, Inspected, PROCESS, Watch()).result
    except MediaError as error:
        return error


@pytest.mark.parametrize("row", params("video", "audio"))
def test_an_ordinary_file_has_facts_and_all_its_frames(row: Row) -> None:
    found = inspected(row)
    if row.strict or isinstance(found, Inspected):
        assert isinstance(found, Inspected), f"{found.code}: {found}"
        assert (found.info.video is not None) == (row.kind == "video")
        if found.index is not None:
            assert len(found.index.pts) == row.frames


@pytest.mark.parametrize("row", params("hostile"))
def test_a_hostile_file_ends_in_facts_or_in_a_refusal(row: Row, connections: list[object]) -> None:
    started = time.monotonic()
    found = inspected(row)
    assert time.monotonic() - started < SECONDS
    if isinstance(found, MediaError):
        # Not a crash, a time-out or a fault of ours: the file was understood to be unusable, and why.
        assert isinstance(found, RejectedMedia)
        assert found.code not in ("decoder_crashed", "media_timeout", "rejected_media"), found.detail
        assert found.public_message
    if row.is_picture and row.expected == "ok":
        assert isinstance(found, MediaError)  # sound, and not for the pipeline of video and audio
    elif row.strict:
        assert isinstance(found, Inspected) == (row.expected == "ok"), f"expected {row.expected}, got {found}"
    assert not connections, "an address inside the file was followed"
