"""How many units of a kind a GPU has, as its driver and CUDA's libraries count them.

A driver can hang: ask from a process that somebody watches.
"""

import ctypes
from importlib.util import find_spec
from pathlib import Path

from pipelines.images.gpu import NoGpu

CUVID_CODECS = {"h264": 4, "hevc": 8, "av1": 11}  # of cuviddec.h
CHROMA_420 = 1
HARDWARE = 3  # of nvjpeg.h: NVJPEG_BACKEND_HARDWARE


class _DecodeCaps(ctypes.Structure):
    """CUVIDDECODECAPS of cuviddec.h."""

    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma_format", ctypes.c_int),
        ("bit_depth_minus_8", ctypes.c_uint),
        ("reserved_1", ctypes.c_uint * 3),
        ("is_supported", ctypes.c_ubyte),
        ("decoders", ctypes.c_ubyte),
        ("rest", ctypes.c_ubyte * 62),
    )


def count_decoders(codec: str) -> int:
    """Units that decode 8-bit 4:2:0 of the codec, of the first device. Raises NoGpu where the driver does not say."""
    cuda, cuvid = _library("libcuda.so.1"), _library("libnvcuvid.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _ask(cuda, "cuInit", 0)
    _ask(cuda, "cuDeviceGet", ctypes.byref(device), 0)
    _ask(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        _ask(cuda, "cuCtxPushCurrent_v2", context)
        caps = _DecodeCaps(codec=CUVID_CODECS[codec], chroma_format=CHROMA_420)
        _ask(cuvid, "cuvidGetDecoderCaps", ctypes.byref(caps))
        _ask(cuda, "cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    finally:
        _ask(cuda, "cuDevicePrimaryCtxRelease_v2", device)
    return caps.decoders if caps.is_supported else 0


def count_jpeg_engines() -> int:
    """Units that decode JPEGs, of the first device. Raises NoGpu where nvJPEG does not say."""
    spec = find_spec("nvidia")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    found = next((path for folder in folders for path in Path(folder).glob("cu*/lib/libnvjpeg.so.*")), None)
    if found is None:
        raise NoGpu("nvJPEG is not installed")
    nvjpeg = _library(str(found))
    handle, engines, cores = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
    _ask(nvjpeg, "nvjpegCreateEx", HARDWARE, None, None, 0, ctypes.byref(handle))
    try:
        _ask(nvjpeg, "nvjpegGetHardwareDecoderInfo", handle, ctypes.byref(engines), ctypes.byref(cores))
    finally:
        _ask(nvjpeg, "nvjpegDestroy", handle)
    return engines.value


def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise NoGpu(str(error)) from error


def _ask(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(library, function)(*arguments)
    if status != 0:
        raise NoGpu(f"{function} says {status}")
