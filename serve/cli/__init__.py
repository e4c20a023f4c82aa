"""The `farm` command."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence


def main() -> None:
    """Console entry point."""
    # Asked to end, a command cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code comes back, and no expected error shows a traceback."""
    try:
        # Imported here, because it takes a moment in which somebody may press Ctrl-C too.
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain about it at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: Sequence[str]) -> int:
    from typer.exceptions import TyperException

    from serve.cli.commands import app
    from serve.cli.exits import EXPECTED, ExitCode, report

    try:
        return int(app(args=list(arguments), prog_name="farm", standalone_mode=False) or ExitCode.DONE)
    except TyperException as error:
        if error.format_message():  # a bare `farm` has printed its help
            print(f"error: usage: {error.format_message()} (see `farm --help`)", file=sys.stderr)
        return ExitCode.USAGE
    except EXPECTED as error:
        return report(error, as_json="--json" in arguments)
