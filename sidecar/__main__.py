"""Start the command that was asked for; for `run`, capture the stop signals before all else."""

from __future__ import annotations

import gc
import os
import sys

WRONG_USAGE = 11
"""`Exit.SETTINGS`, whose module is not worth importing here."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; the return value is the process's exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    match arguments:
        case ["run", *options]:
            return _run(options)
        case ["help" | "--help" | "-h"]:
            from sidecar.cli import usage

            print(usage(), end="")
            return 0
        case ["--version"]:
            arguments = ["version"]
    from importlib import import_module

    from sidecar.cli import COMMANDS, usage

    if not arguments or arguments[0] not in COMMANDS:
        sys.stderr.write(usage())
        return WRONG_USAGE
    name, *options = arguments
    code: int = import_module(f"sidecar.cli.{name}").main(options, os.environ)
    return code


def _run(options: list[str]) -> int:
    from sidecar import host
    from sidecar.shutdown import signals

    with signals.capture() as received:
        host.protect_from_memory_kill()
        killer = host.fork_killer()  # while this process is small, and has no threads
        # Importing takes half a second, so the handlers come first. All that it makes stays, so the
        # collector would search it in vain: that is a third of the time.
        gc.disable()
        from sidecar.cli import run

        gc.freeze()
        gc.enable()
        return run.main(options, os.environ, received, killer)


if __name__ == "__main__":
    sys.exit(main())
