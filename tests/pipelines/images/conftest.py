"""What several tests of pictures start from."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.gpu import DEVICES, Place

if TYPE_CHECKING:  # DALI is not installed everywhere
    from pipelines.images.dali_engine import DaliEngine


@pytest.fixture(scope="module", params=DEVICES)
def engine(request: pytest.FixtureRequest) -> Iterator["DaliEngine"]:
    """DALI's, wherever it works here."""
    from pipelines.images.dali_engine import DaliEngine

    place: Place = request.param
    engine = DaliEngine(device_id=place.device_id, threads=2)
    yield engine
    engine.close()
