"""The picture libraries, each set up for a stranger's bytes; whoever needs one takes it from here.

They are loaded when first asked for, because a media process pays for what it imports. None may guess a file's type
among all that it knows: the type was decided by the first bytes, and the loader is named.
"""

import functools
import warnings
from typing import Any

CEILING_PIXELS = 16_384 * 16_384  # libraries refuse larger pictures whatever the limits say: 0.8 GB as RGB

# The loaders of libvips that may run at all; every other one is blocked, also from inside of another operation.
VIPS_LOADERS = ("Jpeg", "Png", "Webp", "Nsgif", "Tiff", "Heif")


@functools.cache
def pillow() -> Any:
    """The module `PIL.Image`. Give `open` its one format: `pillow().open(file, formats=["JPEG"])`."""
    from PIL import Image, ImageFile

    Image.MAX_IMAGE_PIXELS = CEILING_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image


@functools.cache
def vips() -> Any:
    """The module `pyvips`: one thread, no cache, and only the loaders of the types that are accepted here."""
    import pyvips

    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for name in VIPS_LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{name}", False)
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    return pyvips


@functools.cache
def heif() -> Any:
    """The module `pillow_heif`: one thread, no thumbnails, libheif's own limits on. It decodes HEVC, not AV1."""
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False
    pillow_heif.options.DISABLE_SECURITY_LIMITS = False
    return pillow_heif
