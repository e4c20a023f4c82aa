"""A job's report as a person reads it."""

from typing import Any

from rich.console import Console
from rich.table import Table


def counted(number: int, noun: str) -> str:
    """`1 recipe`, `2 recipes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_report(report: dict[str, Any], console: Console) -> None:
    """What was made, as a table."""
    if report.get("kind") == "image":
        _print_images(report, console)
    else:
        _print_renditions(report, console)


def made_of(report: dict[str, Any]) -> str:
    """How many of what were made."""
    if report.get("kind") == "image":
        return counted(len(report["images"]), "picture")
    return counted(len(report["renditions"]), "rendition")


def _print_images(report: dict[str, Any], console: Console) -> None:
    source = report["source"]
    console.print(f"{source['format']} {source['width']}×{source['height']}, {source['size_bytes']:,} bytes")
    table = Table(box=None, pad_edge=False)
    for heading in ("variant", "size", "format", "frames", "bytes", "encoder"):
        table.add_column(heading, justify="left" if heading in ("variant", "format", "encoder") else "right")
    for made in report["images"]:
        size, frames = f"{made['width']}×{made['height']}", str(made["frames"])
        table.add_row(made["variant"], size, made["format"], frames, f"{made['bytes']:,}", made["encoder"])
    console.print(table)
    console.print(f"engine {report['path']['engine']}: {report['path']['why']}")


def _print_renditions(report: dict[str, Any], console: Console) -> None:
    """Renditions and audio tracks; figures that are missing say why below the table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("rendition", "size", "codec", "frames", "bytes", "kbit/s", "peak", "VMAF"):
        table.add_column(heading, justify="left" if heading in ("rendition", "codec") else "right")
    for made in report["renditions"]:
        table.add_row(
            made["name"],
            f"{made['width']}×{made['height']}",
            made["codec"],
            str(made["frames"]),
            f"{made['bytes']:,}",
            f"{made['mean_bitrate_bps'] / 1000:.0f}",
            f"{made['peak_1s_bitrate_bps'] / 1000:.0f}",
            f"{made['vmaf']['mean']:.1f}" if made["vmaf"] else "–",
        )
    for track in report["audio"]:
        channels = {1: "mono", 2: "stereo"}.get(track["channels"], f"{track['channels']} channels")
        bitrate = f"{track['bitrate_bps'] / 1000:.0f}"
        table.add_row(track["name"], channels, track["codec"], "–", f"{track['proof']['bytes']:,}", bitrate, "–", "–")
    console.print(table)
    for reason in sorted({made["vmaf_missing"] for made in report["renditions"] if made.get("vmaf_missing")}):
        console.print(f"no VMAF: {reason}")
    reused = [made["name"] for made in (*report["renditions"], *report["audio"]) if made.get("reused_from")]
    if reused:
        console.print(f"not made again, because an earlier revision has the same: {', '.join(reused)}")
    proven = sum(1 for made in report["renditions"] if made["proof"]["ok"])
    if report["renditions"]:
        console.print(f"{proven} of {counted(len(report['renditions']), 'rendition')} proven frame by frame")


def print_stages(report: dict[str, Any], console: Console) -> None:
    """How long each stage took."""
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "wall s", "CPU s", "processes"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in report["stages"].items():
        cpu = f"{stage['cpu_s']:.2f}" if "cpu_s" in stage else "–"
        table.add_row(name, f"{stage['wall_s']:.2f}", cpu, str(stage.get("processes", "–")))
    console.print(table)


def print_places(artifacts: list[dict[str, Any]]) -> None:
    """How many files there are, and the addresses of those that a person would open."""
    urls = {artifact["path"]: artifact["url"] for artifact in artifacts}
    total = sum(artifact["bytes"] for artifact in artifacts)
    print(f"{counted(len(urls), 'file')}, {total / 1e6:.1f} MB; where to look:")
    for path, url in urls.items():
        if path in ("hls/master.m3u8", "dash/manifest.mpd") or path.startswith(("mp4/", "poster/", "images/")):
            print(f"  {url}")
