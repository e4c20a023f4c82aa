"""Whether the pictures of a recipe can be made here: every one is made once, of a small picture of our own."""

import tempfile
from pathlib import Path

from ladders.images import ImagePart
from pipelines.images import libraries
from pipelines.images.limits import ImageLimits
from pipelines.images.request import ImageRequest
from pipelines.images.turn import turn_image

SIZE = (96, 64)


def check_images(part: ImagePart) -> int:
    """How many files the recipe makes of a picture. Raises the MediaError that says what does not work."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "small.png"
        libraries.pillow().new("RGBA", SIZE, (200, 100, 50, 128)).save(source, "PNG")  # with alpha: every way out
        request = ImageRequest(str(source), folder, part.model_dump(mode="json"), ImageLimits())
        return len(turn_image(request).images)
