"""Take the signals before anything heavy is imported, then run the command that was asked for."""

from __future__ import annotations

import os
import sys

from launcher.interruption import Interruption


def main(argv: list[str] | None = None) -> int:
    """Run one command; the return value is the process's exit code."""
    with Interruption() as interruption:
        from launcher import cli  # late: importing takes half a second

        return cli.main(sys.argv[1:] if argv is None else argv, os.environ, interruption)


if __name__ == "__main__":
    sys.exit(main())
