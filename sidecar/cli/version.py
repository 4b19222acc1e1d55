"""`runner-sidecar version`: print the agent's version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HELP = """\
usage: runner-sidecar version

Print the agent's version, and nothing else.
"""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Print the version; return the exit code."""
    print(HELP.rstrip() if arguments else __version__)
    return 0
