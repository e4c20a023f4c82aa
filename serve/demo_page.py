"""A page that shows what the demo has made: the pictures and the video, as a browser gets them."""

from html import escape
from pathlib import Path
from typing import Any

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What the demo made</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #222; }}
  video, img {{ max-width: 100%; height: auto; background: #ddd; }}
  figure {{ margin: 0 0 1.5rem; }}
  figcaption {{ color: #555; font-size: .875rem; overflow-wrap: anywhere; }}
</style>
<h1>What the demo made</h1>
<h2>The video, as one fast-start MP4</h2>
<figure><video controls preload="metadata" src="{video}"></video><figcaption>{video}</figcaption></figure>
<h2>The pictures</h2>
{pictures}
</html>
"""

PICTURE = """<figure>
<img src="{url}" alt="" width="{width}" height="{height}" loading="lazy">
<figcaption>{name}: {width}×{height}, {size:,} bytes</figcaption>
</figure>"""


def write_page(path: Path, video: dict[str, Any], picture: dict[str, Any]) -> Path:
    """Write the page for two media items as the API gives them; its path comes back."""
    urls = {made["path"]: made["url"] for made in picture["artifacts"]}
    mp4 = next(made["url"] for made in video["artifacts"] if made["path"].startswith("mp4/"))
    shown = [
        PICTURE.format(
            url=escape(urls[made["path"]]),
            name=escape(made["path"]),
            width=made["width"],
            height=made["height"],
            size=made["bytes"],
        )
        for made in picture["report"]["images"]
    ]
    path.write_text(PAGE.format(video=escape(mp4), pictures="\n".join(shown)), encoding="utf-8")
    return path
