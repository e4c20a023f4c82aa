"""What several tests of pictures start."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.images.process import ImageProcess


@pytest.fixture
def process() -> Iterator[ImageProcess]:
    with ThreadPoolExecutor(1) as starter:
        started = ImageProcess(starter)
        try:
            yield started
        finally:
            started.close()
