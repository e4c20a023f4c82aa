"""Real cameras' and telephones' files, cut in three and joined: the same frames at the same times."""

from pathlib import Path

import av
import pytest

from tests.support.chunks import encode_and_join, planned, timed_pictures
from tests.support.corpus import Row, params

pytestmark = pytest.mark.corpus

MAX_PIXELS = 1024 * 768  # of a picture: the larger files show nothing that these do not, but one …
FIELDS = "sony_a7m3_avchd_1080i50.mts"  # … whose every packet holds a field
MAX_FRAMES = 400
KEPT = ("yuv420p", "yuvj420p", "yuvj422p", "yuv444p", "yuv420p10le", "yuv422p10le")  # by x264 without loss


@pytest.mark.parametrize("row", params("video"))
def test_a_real_file_in_three_chunks_joins_to_its_own_frames(row: Row, tmp_path: Path) -> None:
    with av.open(str(row.path)) as container:
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS and row.path.name != FIELDS:
            pytest.skip("pictures too large to compare each without loss; test_corpus_jobs runs it whole")
        if stream.width % 2 or stream.height % 2 or stream.pix_fmt not in KEPT:
            pytest.skip(f"{stream.width}×{stream.height} {stream.pix_fmt} is nothing that x264 keeps without loss")
    if (row.frames or 0) > MAX_FRAMES:
        pytest.skip(f"more than {MAX_FRAMES} frames to compare one by one; test_corpus_jobs runs it whole")
    expected = timed_pictures(row.path)
    joined = encode_and_join(planned(row.path, chunks=3), tmp_path)
    assert timed_pictures(joined.path) == expected
    assert len(expected) == row.frames
    assert sum(chunk.concealed_frames for chunk in joined.chunks) == 0
