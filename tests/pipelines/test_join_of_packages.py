"""Renditions that come out of an earlier package again: the way back gives the very same file, or a failed proof."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest

from ladders.model import H264, Av1, Hevc
from pipelines.errors import ProofFailed
from pipelines.join import JoinRendition, JoinRequest, RenditionProof, join
from pipelines.package import PackageRendition, PackageRequest, package
from pipelines.plan import RenditionPlan, VideoPlan
from tests.support.chunks import Joined, Planned, encode_and_join, planned, silent
from tests.support.encoding import HDR10, MASTERING, plan_of
from tests.support.media import clip


@dataclass
class Packaged:
    """A joined rendition and its package."""

    video: Planned
    joined: Joined
    folder: Path

    def segments(self) -> list[Path]:
        return sorted((self.folder / "video/r").iterdir())

    def joined_again(self, files: list[Path], out: Path, width: int = 160) -> RenditionProof:
        plan = replace(self.video.video.renditions[0], width=width)
        rendition = JoinRendition(plan, (tuple(str(path) for path in files),), str(out))
        frames = self.joined.path.parent / "frames.i64"
        request = JoinRequest((rendition,), replace(self.video.video, chunks=()), str(frames))
        return join(request, silent).renditions[0]


def packaged(path: Path, folder: Path) -> list[Path]:
    """The files of a package of the joined rendition at `path`."""
    folder.mkdir()
    rendition = PackageRendition("r", str(path), mp4=True)
    package(PackageRequest((rendition,), (), True, True, 1.0, 12 / 30, str(folder)), silent)
    return sorted(found for found in folder.rglob("*") if found.is_file())


def made(codec: H264 | Hevc | Av1, folder: Path, **given: object) -> Packaged:
    """Two chunks with B frames, of which the last ends within a GOP, joined and packaged."""

    def renditions(video: VideoPlan) -> tuple[RenditionPlan, ...]:
        return (plan_of(codec, 160, 90, 12, frame_rate=video.frame_rate, **given),)

    source = clip(frames=43, width=160, height=90, fps=Fraction(30_000, 1001))
    video = planned(source, chunks=2, gop=12, timing="constant", renditions=renditions)
    joined = encode_and_join(video, folder)
    packaged(joined.path, folder / "package")
    return Packaged(video, joined, folder / "package")


@pytest.mark.parametrize(
    ("codec", "given"),
    [
        (H264(preset="faster"), {}),
        (Hevc(preset="faster"), {"color": HDR10, "hdr": True, "mastering_display": MASTERING}),
        (Av1(preset=9), {}),
    ],
    ids=["h264", "hevc-hdr10", "av1"],
)
def test_a_rendition_out_of_a_package_is_packaged_into_the_same_bytes(
    codec: H264 | Hevc | Av1, given: dict[str, object], tmp_path: Path
) -> None:
    first = made(codec, tmp_path, **given)
    for name, files in (("segments", first.segments()), ("file", [first.folder / "mp4/r.mp4"])):
        out = tmp_path / f"{name}.mp4"
        proof = first.joined_again(files, out)
        assert replace(proof, bytes=0) == replace(first.joined.proof, bytes=0)
        # x265's hints about which frames could be skipped (sdtp) are in no segment; a download file would lack them.
        whole = codec.name != "hevc" or name == "file"
        assert (out.read_bytes() == first.joined.path.read_bytes()) == whole
        before = {path.relative_to(first.folder): path.read_bytes() for path in first.folder.rglob("*.m*")}
        folder = tmp_path / f"package-{name}"
        after = {path.relative_to(folder): path.read_bytes() for path in packaged(out, folder)}
        assert {path for path in before | after if before.get(path) != after.get(path)} == (
            set() if whole else {Path("mp4/r.mp4")}
        )


def test_a_package_that_lacks_a_segment_or_holds_another_size_is_not_joined(tmp_path: Path) -> None:
    first = made(H264(preset="ultrafast"), tmp_path)
    with pytest.raises(ProofFailed, match="frames instead of 43"):
        first.joined_again(first.segments()[:-1], tmp_path / "short.mp4")
    with pytest.raises(ProofFailed, match="160×90 instead of 320×90"):
        first.joined_again(first.segments(), tmp_path / "size.mp4", width=320)
