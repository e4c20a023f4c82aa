"""The `farm` commands that a text tells people or machines to run."""

import re

import typer
from typer.main import get_command

from serve.cli.commands import app


def farm_commands_in(text: str) -> set[str]:
    """Those that exist, as `drain` or `node resources`; AssertionError for one that does not."""
    root = get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    found = set()
    for word, second in re.findall(r"(?:^|[\s`(\'\"])farm ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?", text):
        if word not in root.commands:
            continue
        command = root.commands[word]
        if isinstance(command, typer.core.TyperGroup):
            assert second in command.commands, f"farm {word} {second} does not exist"
            found.add(f"{word} {second}")
        else:
            found.add(word)
    return found
