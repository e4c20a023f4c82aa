"""One picture's job on one machine, as a list of steps: fetch, turn, check, report, publish."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.farm_settings import WorkSettings
from cluster.figures import figures_or_none, picture_figures
from cluster.images.process import ImageProcess
from cluster.media_process import Answer, Watch
from cluster.publish import Published, publish
from cluster.scratch import blamed_on_full_disk
from cluster.tools import Tools
from cluster.work import Work
from pipelines.confine import ProcessLimits
from pipelines.errors import DecoderCrashed, MediaProcessFailed, UnsupportedMedia
from pipelines.images.request import ImageRequest, ImageResult
from pipelines.version import image_versions
from pipelines.wire import to_wire

Publishing = Callable[[], dict[str, Any]]
START_S = 5.0  # beside the picture's own limit: a fork on a machine that swaps
CPU_PER_WALL = 4  # SVT-AV1 uses a few threads


def request_of(work: Work, folder: Path, tools: Tools, watch: Watch) -> ImageRequest:
    """What is to be made in the empty `folder`, of the source that is fetched. Raises MediaError, InfraError or
    Cancelled."""
    image = work.recipe.get("image")
    if image is None:
        raise UnsupportedMedia(
            f"the file is a picture, and the recipe {work.recipe.get('name')} has no image part: choose another recipe"
        )
    limits = tools.settings.work.image_limits
    return ImageRequest(tools.source_name(work, watch), str(folder), image, limits, work.memory_bytes)


def turn_alone(
    asked: ImageRequest, tools: Tools, process: ImageProcess, watch: Watch, *, fresh: bool
) -> Answer[ImageResult]:
    """Make the pictures, on the processors; `fresh` keeps it apart from the picture before it.

    Raises MediaError or Cancelled.
    """
    limits = limits_of(tools)
    with blamed_on_full_disk(tools.scratch_dir):
        return _twice(asked, lambda: process.turn(asked, limits, watch, fresh=fresh))


def checked(
    made: Answer[ImageResult], work: Work, folder: Path, tools: Tools, watch: Watch, not_by_dali: str = ""
) -> Publishing:
    """What is left to do with what was made in `folder`: publishing it, which uses no CPU and returns what is announced
    of the job. `not_by_dali`: why DALI did not make it, for the report.

    Raises MediaError; what comes back raises InfraError or Cancelled.
    """
    _check_files(made.result, folder)
    if not_by_dali and not_by_dali not in made.result.why:
        made = replace(made, result=replace(made.result, why=f"{made.result.why}; not by DALI: {not_by_dali}"))
    report = build_report(made)
    return lambda: _announced(publish(folder, report, work, tools.output, watch.check), report, made, work)


def limits_of(tools: Tools) -> ProcessLimits:
    """What the process of one picture may use."""
    return limits_of_picture(tools.settings.work)


def limits_of_picture(settings: WorkSettings) -> ProcessLimits:
    """The same, by the settings."""
    wall_s = settings.image_limits.max_s + START_S
    return ProcessLimits(
        wall_s=wall_s,
        stall_s=wall_s,  # it does not report while it works
        memory_bytes=settings.image_memory_bytes,
        cpu_s=int(wall_s * CPU_PER_WALL) + 1,
        file_bytes=settings.image_limits.max_output_bytes,
    )


def _twice(asked: ImageRequest, turn: Callable[[], Answer[ImageResult]]) -> Answer[ImageResult]:
    """A native crash may be bad luck once; the second one is the picture's."""
    try:
        return turn()
    except DecoderCrashed:
        shutil.rmtree(asked.out_dir, ignore_errors=True)
        Path(asked.out_dir).mkdir()
        return turn()


def _check_files(result: ImageResult, folder: Path) -> None:
    """What lies in the folder is what was announced, and nothing else; sizes are looked up, not believed."""
    announced = {image.path: image.bytes for image in result.images}
    paths = (root / name for root, _, names in folder.walk() for name in names)  # links to folders among them
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    if announced.keys() != found.keys() or any(path.is_symlink() for path in found.values()):
        raise MediaProcessFailed("the media process wrote other files than it says")
    if any(path.stat().st_size != announced[name] for name, path in found.items()):
        raise MediaProcessFailed("a file has another size than the media process says")


def build_report(made: Answer[ImageResult]) -> dict[str, Any]:
    """What came in, what was made of it, by which engine, and what it cost."""
    result, usage = made.result, made.usage
    cost = to_wire(usage) | {"processes": 1, "longest_s": usage.wall_s}
    return {
        "kind": "image",
        "source": to_wire(result.facts),
        "images": [to_wire(image) for image in result.images],
        "picture_html": result.picture_html,
        "path": {"lane": "gpu" if result.engine == "dali" else "cpu", "engine": result.engine, "why": result.why},
        "stages": {"image": cost},
        "stages_cpu_s": result.stages_s,
        "versions": image_versions(),
    }


def _announced(published: Published, report: dict[str, Any], made: Answer[ImageResult], work: Work) -> dict[str, Any]:
    return {
        "manifest_key": published.manifest_key,
        "revision": published.revision,
        "report": report,
        "published_bytes": published.bytes,
        "source_bytes": made.result.facts.size_bytes,
        "engine": made.result.engine,
        "lane": report["path"]["lane"],
        "figures": figures_or_none(lambda: picture_figures(made, work.recipe["image"], published.bytes)),
        "wall_s": made.usage.wall_s,
        "cpu_s": made.usage.cpu_s,
    }
