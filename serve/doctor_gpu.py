"""Which engines the GPU of this machine has, each proven by using it, and the reason for every no."""

from pathlib import Path
from typing import Any

from cluster.node_offer import ask_for_engines
from serve.findings import Finding

DRIVER = Path("/dev/nvidiactl")


def gpu_finding() -> Finding:
    """One line; a machine without a GPU lacks nothing that is needed."""
    if not DRIVER.exists():
        return Finding("gpu", False, "no NVIDIA driver on this machine; everything runs on processors", needed=False)
    found = ask_for_engines()
    if found["name"] is None:
        return Finding("gpu", False, found["why"]["nvdec"], needed=False)
    said = ", ".join([_codecs("encodes", "nvenc", found), _codecs("decodes", "nvdec", found), _jpegs(found)])
    return Finding("gpu", bool(found["nvenc"] or found["nvdec"]), f"{found['name']} {said}", needed=False)


def _codecs(does: str, kind: str, found: dict[str, Any]) -> str:
    units = found["counts"].get(kind)
    said = f"{does} {' '.join(found[kind]) or 'nothing'}" + (f" with {units} units" if units else "")
    missing: dict[str, list[str]] = {}
    for name, reason in found["why"].items():
        if name.startswith(f"{kind} "):
            missing.setdefault(reason, []).append(name.removeprefix(f"{kind} "))
    noes = "; ".join(f"{' '.join(codecs)}: {reason}" for reason, codecs in missing.items())
    return f"{said} (not {noes})" if noes else said


def _jpegs(found: dict[str, Any]) -> str:
    if not found["nvjpg"]:
        return f"no JPEG engine ({found['why']['nvjpg']})"
    return f"JPEG engines: {found['counts'].get('nvjpg', 1)}"
