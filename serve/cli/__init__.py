"""The `farm` command."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from serve.cli import farm_commands, media_commands, remote_commands
from serve.cli.exits import EXPECTED, ExitCode, report

log = logging.getLogger(__name__)

app = typer.Typer(
    name="farm",
    help="Turn uploaded media into proven, playable ladders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
media_commands.register(app)
remote_commands.register(app)
farm_commands.register(app)


def main() -> None:
    """Console entry point."""
    # Asked to end, a command cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code comes back, and no expected error shows a traceback."""
    as_json = "--json" in arguments
    try:
        return int(app(args=list(arguments), prog_name="farm", standalone_mode=False) or ExitCode.DONE)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except TyperException as error:
        if error.format_message():  # a bare `farm` has printed its help
            print(f"error: usage: {error.format_message()} (see `farm --help`)", file=sys.stderr)
        return ExitCode.USAGE
    except EXPECTED as error:
        return report(error, as_json)
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain about it at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
