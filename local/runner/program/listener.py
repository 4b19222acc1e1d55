"""`bin/Runner.Listener`."""

import os
import sys

from . import codes
from .arguments import Arguments
from .misbehaviour import Misbehaviour
from .signals import Signals
from .store import NOT_CONFIGURED, SETTINGS, Store
from .terminal import Terminal

_USAGE = """
Commands:
 ./config.sh         Configures the runner
 ./config.sh remove  Unconfigures the runner
 ./run.sh            Runs the runner interactively. Does not require any options.

Options:
 --help     Prints the help for each command
 --version  Prints the runner version
 --commit   Prints the runner commit"""


def main(root: str) -> None:
    """Run and leave at once: nothing is worth waiting for."""
    _load_env(root)
    code = _run_guarded(root, sys.argv[1:])
    sys.stdout.flush()
    codes.leave(code)


def _run_guarded(root: str, words: list[str]) -> int:
    terminal = Terminal(root, "Runner")
    knobs = Misbehaviour(root)
    signals = Signals(terminal, ignored=bool(knobs.knob("ignore_signals")))
    try:
        return _command(root, words, terminal, knobs, signals)
    except codes.TerminatedError as error:
        terminal.error(f"An error occurred: {error}")
        return codes.TERMINATED
    except Exception as error:  # noqa: BLE001 - as the real one: any other is worth a retry
        terminal.error(f"An error occurred: {error}")
        return codes.RETRYABLE


def _command(
    root: str, words: list[str], terminal: Terminal, knobs: Misbehaviour, signals: Signals
) -> int:

    arguments = Arguments(words)
    _complain(arguments, terminal)
    for flag, text in (("help", _USAGE), ("version", codes.VERSION), ("commit", "0" * 40)):
        if arguments.flag(flag):
            terminal.line(text)
            return codes.SUCCESS
    # Each command loads only what it needs.
    if arguments.command == "configure":
        from .configuring import configure

        return configure(root, arguments, terminal, knobs)
    if arguments.command == "remove":
        from .removing import remove

        return remove(root, arguments, terminal, knobs)
    if arguments.command == "run":
        from .running import run

        return run(root, arguments, terminal, knobs, signals)
    if arguments.command == "warmup":
        from .warming import warm

        return warm()
    if not Store(root).has(SETTINGS):
        raise codes.TerminatedError(NOT_CONFIGURED)
    terminal.line(_USAGE)
    return codes.SUCCESS


def _complain(arguments: Arguments, terminal: Terminal) -> None:
    unknown = arguments.unknown()
    if not unknown:
        return
    text = "This command does not recognize the command-line input arguments"
    if arguments.command:
        text = f"Unrecognized command-line input arguments for command {arguments.command}"
    usage = "For usage refer to: .\\config.cmd --help or ./config.sh --help"
    terminal.error(f"{text}: '{', '.join(unknown)}'. {usage}")


def _load_env(root: str) -> None:
    try:
        with open(os.path.join(root, ".env"), encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        name, found, value = line.partition("=")
        if found and name:
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
