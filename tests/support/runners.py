"""Runners of jobs that do no work."""

from collections.abc import Sequence

from cluster.images.batches import Told
from cluster.work import Work


class NoPictures:
    """Takes every source for a video."""

    async def is_picture(self, work: Work) -> bool:
        return False

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        raise AssertionError("no picture was asked for")

    async def cancel_image(self, job_id: str) -> None:
        raise AssertionError("no picture was asked for")
