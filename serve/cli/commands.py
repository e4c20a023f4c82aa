"""All commands of `farm`, put together."""

import typer

from serve.cli import (
    batch_commands,
    farm_commands,
    image_commands,
    media_commands,
    node_commands,
    policy_commands,
    remote_commands,
)

app = typer.Typer(
    name="farm",
    help="Turn uploaded media into proven, playable ladders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
media_commands.register(app)
image_commands.register(app)
remote_commands.register(app)
batch_commands.register(app)
policy_commands.register(app)
farm_commands.register(app)
node_commands.register(app)
