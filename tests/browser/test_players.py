"""What was packaged plays in a real browser: hls.js, shaka-player and the browser itself."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from cluster.farm_settings import FarmSettings
from cluster.local import run_local
from ladders.catalog import load_preset
from pipelines.package import PackageAudio, PackageRendition, PackageRequest, package
from tests.support.joined import write_aac, write_video

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".m4s": "video/iso.segment",
    ".mp4": "video/mp4",
    ".html": "text/html",
    ".js": "text/javascript",
}
SECONDS = 8
SEGMENT_S = 2.0
RUNGS = (("90p", 160, 90), ("180p", 320, 180), ("360p", 640, 360))


@dataclass
class Site:
    """A web server on this machine, and what it could not serve."""

    url: str
    failed: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def players() -> Path:
    """Folder of the npm packages that package-lock.json names."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: the players come from there (Debian packages nodejs, npm)")
    folder = ROOT / ".tools" / "players"
    locked = (HERE / "package-lock.json").read_bytes()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_bytes() != locked:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot fetch the players: {done.stderr.strip().splitlines()[-1]}")
        stamp.write_bytes(locked)
    return folder / "node_modules"


# Of the module, not of the session: while it is open, its event loop runs on this thread, and no test can have another.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium as the system has it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here (Debian package chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS, timeout=60_000)
        yield running
        running.close()


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of three rungs and two languages."""
    joined, out_dir = tmp_path_factory.mktemp("joined"), tmp_path_factory.mktemp("published")
    for name, width, height in RUNGS:
        write_video(joined / f"{name}.mp4", width=width, height=height, frames=30 * SECONDS)
    for language, hertz in (("eng", 440), ("deu", 880)):
        write_aac(joined / f"{language}.mp4", seconds=SECONDS, language=language, hertz=hertz)
    request = PackageRequest(
        renditions=tuple(
            PackageRendition(name, str(joined / f"{name}.mp4"), mp4=name == "180p") for name, _, _ in RUNGS
        ),
        audio=tuple(
            PackageAudio(language, str(joined / f"{language}.mp4"), language, None, language == "eng", number, 64_000)
            for number, language in enumerate(("eng", "deu"), start=1)
        ),
        hls=True,
        dash=True,
        segment_seconds=SEGMENT_S,
        gop_seconds=1.0,
        out_dir=str(out_dir),
    )
    package(request, lambda _: None)
    return out_dir


@pytest.fixture(scope="session")
def site(published: Path, players: Path) -> Iterator[Site]:
    """Serves the package and the players."""
    with serving(published, players) as served:
        yield served


@contextmanager
def serving(published: Path, players: Path) -> Iterator[Site]:
    """A folder of outputs, and the players, on a free loopback port."""

    class Handler(SimpleHTTPRequestHandler):
        extensions_map = TYPES

        def translate_path(self, path: str) -> str:
            path = path.partition("?")[0]
            if path == "/player.html":
                return str(HERE / "player.html")
            if path.startswith("/players/"):
                return str(players / path.removeprefix("/players/"))
            return str(published / path.lstrip("/"))

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def send_error(self, code: int, *args: Any, **kwargs: Any) -> None:
            if self.path != "/favicon.ico":
                served.failed.append(f"{code} {self.path}")
            super().send_error(HTTPStatus(code), *args, **kwargs)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """An open player page."""
    site.failed.clear()
    with opened(browser, site) as page:
        yield page


@contextmanager
def opened(browser: Browser, site: Site) -> Iterator[Page]:
    """A player page of its own."""
    context = browser.new_context(viewport={"width": 640, "height": 360})
    page = context.new_page()
    page.goto(f"{site.url}/player.html")
    yield page
    context.close()


def watch(page: Page, until_s: float) -> dict[str, Any]:
    """Let it play until `until_s`, or until it says that it cannot."""
    page.wait_for_function(f"video.currentTime > {until_s} || errors.length > 0 || video.ended", timeout=30_000)
    seen: dict[str, Any] = page.evaluate("state()")
    assert seen["errors"] == []
    assert seen["time_s"] > until_s
    return seen


def assert_plays(page: Page, site: Site, tmp_path: Path) -> dict[str, Any]:
    """Past two segment borders: frames and sound are decoded, from the very start, without a hole."""
    seen = watch(page, 2 * SEGMENT_S + 0.3)
    assert seen["frames"] > 100
    assert seen["audio_bytes"] > 10_000
    assert seen["duration_s"] == pytest.approx(SECONDS, abs=0.05)
    assert len(seen["buffered"]) == 1, "the buffer has a hole"
    assert seen["buffered"][0][0] < 0.005
    assert page.evaluate("picture()")["deviation"] > 20, "the picture is blank"
    page.screenshot(path=str(tmp_path / "screenshot.png"))
    assert site.failed == []
    return seen


def test_hls_plays_in_hls_js(page: Page, site: Site, tmp_path: Path) -> None:
    page.evaluate("playHls('/hls/master.m3u8')")
    assert_plays(page, site, tmp_path)
    assert page.evaluate("hls.levels.map(level => level.height)") == [90, 180, 360]
    assert page.evaluate("hls.audioTracks.map(track => [track.name, track.lang])") == [
        ["English", "en"],
        ["Deutsch", "de"],
    ]


def test_dash_plays_in_shaka_player(page: Page, site: Site, tmp_path: Path) -> None:
    page.evaluate("playDash('/dash/manifest.mpd')")
    assert_plays(page, site, tmp_path)
    assert set(page.evaluate("player.getVariantTracks().map(track => track.height)")) == {90, 180, 360}
    assert page.evaluate("player.getAudioTracks().map(track => track.language).toSorted()") == ["de", "en"]
    assert page.evaluate("player.getVariantTracks().find(track => track.active).language") == "en"


def test_hls_plays_in_shaka_player(page: Page, site: Site, tmp_path: Path) -> None:
    page.evaluate("playDash('/hls/master.m3u8')")
    assert_plays(page, site, tmp_path)


def test_the_picture_switches_between_renditions_without_a_stop(page: Page, site: Site) -> None:
    page.evaluate("playHls('/hls/master.m3u8', { startLevel: 0, testBandwidth: false, maxBufferLength: 2 })")
    page.wait_for_function("video.currentTime > 0.5 || errors.length > 0", timeout=30_000)
    assert page.evaluate("[...decoded]") == [90]
    page.evaluate("hls.nextLevel = 2")
    seen = watch(page, 7.0)
    assert {90, 360} <= set(seen["heights"])
    assert len(seen["buffered"]) == 1
    assert site.failed == []


def test_another_language_can_be_chosen_while_it_plays(page: Page, site: Site) -> None:
    page.evaluate("playHls('/hls/master.m3u8')")
    watch(page, 1.0)
    page.evaluate("hls.audioTrack = 1")
    seen = watch(page, 5.0)
    assert page.evaluate("hls.audioTracks[hls.audioTrack].lang") == "de"
    assert len(seen["buffered"]) == 1


def test_it_plays_to_its_end(page: Page, site: Site) -> None:
    page.evaluate("playHls('/hls/master.m3u8')")
    watch(page, 0.5)
    page.evaluate("video.currentTime = 6.5")
    page.wait_for_function("video.ended || errors.length > 0", timeout=30_000)
    seen = page.evaluate("state()")
    assert seen["errors"] == []
    assert seen["time_s"] == pytest.approx(SECONDS, abs=0.05)


def test_the_download_file_plays_without_a_player(page: Page, site: Site, tmp_path: Path) -> None:
    page.evaluate("playFile('/mp4/180p.mp4')")
    seen = watch(page, 2.0)
    assert seen["frames"] > 30
    assert seen["audio_bytes"] > 1_000
    assert seen["duration_s"] == pytest.approx(SECONDS, abs=0.05)
    assert page.evaluate("[video.videoWidth, video.videoHeight]") == [320, 180]
    assert page.evaluate("picture()")["deviation"] > 20
    assert site.failed == []


@pytest.mark.parametrize("recipe", ["standard", pytest.param("av1", marks=pytest.mark.slow)])
def test_what_a_job_publishes_of_a_telephone_s_video_plays(
    recipe: str, browser: Browser, players: Path, tmp_path: Path
) -> None:
    """Variable frame rate, full range, 518×488: all that the packages made above are not."""
    out = tmp_path / "out"
    phone = ROOT / "tests" / "media" / "phone_vfr_518x488.mp4"
    with ThreadPoolExecutor(1) as pool:  # the browser's event loop holds this thread
        job = pool.submit(run_local, str(phone), load_preset(recipe), out.as_uri(), settings=FarmSettings.load())
        made = job.result()
    top = made["report"]["renditions"][-1]
    for start in ("playHls('/hls/master.m3u8')", "playDash('/dash/manifest.mpd')"):
        with serving(out, players) as site, opened(browser, site) as page:
            page.evaluate(start)
            seen = watch(page, 3.0)
            assert seen["frames"] > 60
            assert seen["audio_bytes"] > 1_000
            assert seen["duration_s"] == pytest.approx(made["report"]["duration_s"], abs=0.1)
            assert len(seen["buffered"]) == 1
            assert set(seen["heights"]) <= {rung["height"] for rung in made["report"]["renditions"]}
            assert page.evaluate("picture()")["deviation"] > 20
            page.screenshot(path=str(tmp_path / f"{recipe}-{top['height']}.png"))
            assert site.failed == []
