import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_runs_a_real_clip_through_the_farm_and_says_what_came_of_it(tmp_path: Path) -> None:
    # Somewhere else than the checkout: it leaves a folder, and finds its clip by the folder it is started in.
    media = tmp_path / "tests" / "media"
    media.mkdir(parents=True)
    for found in (ROOT / "tests" / "media").glob("*720p*"):
        shutil.copy(found, media)
    done = subprocess.run(
        [sys.executable, "-m", "serve.demo"], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "202 after" in done.stdout
    assert "3 of 3 renditions proven" in done.stdout
    for shown in ("720p", "VMAF", "chunk", "publish", "hls/master.m3u8", "everything is shut down"):
        assert shown in done.stdout
    for shown in ("the same call with a picture", "images/w600.webp", "libwebp", "demo.html"):
        assert shown in done.stdout
    page = (tmp_path / "farm-demo" / "demo.html").read_text()
    for found in re.findall(r'src="file://([^"]+)"', page):
        assert Path(found).is_file()
    assert page.count("<img") == 10
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "farm-demo" / "media").rglob("manifest.json"))
    assert "encoding" in done.stderr
