"""Downloads the locked uv wheel with the standard library alone, for a Python that has no pip.

Usage: fetch_uv.py LOCK TARGET. Runs on any Python from 3.9; leaves TARGET/bin/uv.
"""

import hashlib
import io
import json
import os
import platform
import re
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path


def main(lock: str, target: str) -> None:
    """Put uv into `target`/bin, or fail when no file of the index has a locked hash."""
    text = Path(lock).read_text(encoding="utf-8")
    version = re.findall(r"^uv==(\S+)", text, re.M)[0]
    locked = set(re.findall(r"sha256:([0-9a-f]{64})", text))
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL") or "https://pypi.org/simple"
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    page_url = index.rstrip("/") + "/uv/"
    for url in _files(page_url):
        name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
        if name.startswith(f"uv-{version}-") and libc in name and name.endswith(f"{platform.machine()}.whl"):
            wheel = _get(url)[0]
            if hashlib.sha256(wheel).hexdigest() not in locked:
                sys.exit(f"{name} has not the locked hash")
            _unpack(wheel, Path(target))
            return
    sys.exit(f"{page_url} has no uv {version} for {platform.machine()}")


def _get(url: str) -> "tuple[bytes, str]":
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=60) as answer:  # noqa: S310
        return answer.read(), answer.headers.get_content_type()


def _files(page_url: str) -> "list[str]":
    page, kind = _get(page_url)
    text = page.decode("utf-8")
    links = (
        [f["url"] for f in json.loads(text)["files"]] if kind.endswith("json") else re.findall(r'href="([^"#]+)', text)
    )
    return [urllib.parse.urljoin(page_url, link) for link in links]


def _unpack(wheel: bytes, target: Path) -> None:
    (target / "bin").mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"uv-[^/]+\.data/scripts/uvx?", name):
                program = target / "bin" / name.rpartition("/")[2]
                program.write_bytes(archive.read(name))
                program.chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
