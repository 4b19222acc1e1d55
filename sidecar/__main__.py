"""The front door: hears signals before anything heavy is imported, then opens what is asked for."""

from __future__ import annotations

import gc
import os
import sys

USAGE = """\
usage: runner-sidecar run [--help] [options]   live one life: token, runner, job, clean-up
       runner-sidecar run [options] -- COMMAND supervise it instead; nothing is registered
       runner-sidecar health [host:port]       exit 0 if the agent of this container is well
       runner-sidecar version
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; the return value is the process's exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    match arguments:
        case ["run", *options]:
            from sidecar.shutdown import signals

            with signals.captured() as heard:
                # Half a second of imports, on purpose behind the signal handlers. All they make
                # stays: to look for garbage among it meanwhile took a third of that time, and
                # once frozen it is never looked through again.
                gc.disable()
                from sidecar.cli.run import run

                gc.freeze()
                gc.enable()
                return run(options, os.environ, heard)
        case ["health", *address]:
            from sidecar.cli.health import probe

            return probe(os.environ, *address[:1])
        case ["version" | "--version"]:
            from sidecar import __version__

            print(__version__)
            return 0
        case ["help" | "--help" | "-h"]:
            print(USAGE, end="")
            return 0
        case _:
            sys.stderr.write(USAGE)
            return 11


if __name__ == "__main__":
    sys.exit(main())
