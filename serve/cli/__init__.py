"""The `farm` command."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from serve.interrupts import SIGNAL_EXIT, Stops, in_own_session


def main() -> None:
    """Console entry point."""

    def command() -> int:
        stops = Stops()
        stops.listen()
        return run(sys.argv[1:], stops)

    sys.exit(in_own_session(command) if sys.argv[1:2] == ["up"] else command())


def run(arguments: Sequence[str], stops: Stops | None = None) -> int:
    """Run one command line; the exit code comes back, and no error shows a traceback unless FARM_DEBUG is set."""
    try:
        # Imported here, because it takes a moment in which somebody may press Ctrl-C too.
        code = _run(arguments)
    except KeyboardInterrupt:
        code = SIGNAL_EXIT + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain about it at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort of a command: a line instead of a traceback
        from serve.cli.exits import report_unforeseen

        # A closed terminal refuses the last words of whatever was writing to it.
        hung_up = stops is not None and stops.number == signal.SIGHUP
        code = SIGNAL_EXIT + signal.SIGINT if hung_up else report_unforeseen(error, as_json="--json" in arguments)
    return _stopped(code, stops)


def _stopped(code: int, stops: Stops | None) -> int:
    """`code`, or the signal's where one ended the command; typer calls every interrupt Ctrl-C."""
    if code <= SIGNAL_EXIT:
        return code
    with contextlib.suppress(OSError):  # the terminal is gone after SIGHUP
        print("farm: stopped", file=sys.stderr, flush=True)
    return SIGNAL_EXIT + stops.number if stops is not None and code == SIGNAL_EXIT + signal.SIGINT else code


def _run(arguments: Sequence[str]) -> int:
    from typer.exceptions import TyperException

    from ladders.errors import FarmError
    from serve.cli.commands import app
    from serve.cli.exits import ExitCode, report

    try:
        return int(app(args=list(arguments), prog_name="farm", standalone_mode=False) or ExitCode.DONE)
    except TyperException as error:
        if error.format_message():  # a bare `farm` has printed its help
            print(f"error: usage: {error.format_message()} (see `farm --help`)", file=sys.stderr)
        return ExitCode.USAGE
    except FarmError as error:
        return report(error, as_json="--json" in arguments)
