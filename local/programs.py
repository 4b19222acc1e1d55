"""Start a stand-in as a program of its own, and wait until it is ready."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent
READY_SECONDS = 120.0
"""Seconds within which a program must say that it is ready."""
END_SECONDS = 30.0
"""Seconds that a program has for its end before it is killed."""


@contextmanager
def run(*argv: str, env: Mapping[str, str]) -> Iterator[str]:
    """Run `python ARGV...` for the block; gives the URL of its line "ready URL".

    Raises RuntimeError if that line does not come within `READY_SECONDS`.
    """
    program = [sys.executable, *argv]
    with subprocess.Popen(program, cwd=ROOT, env=dict(env), stdout=subprocess.PIPE) as child:
        try:
            yield _wait_for_url(child, " ".join(argv))
        finally:
            child.terminate()
            try:
                child.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_for_url(child: subprocess.Popen[bytes], name: str) -> str:
    assert child.stdout  # noqa: S101  tells the type checker what Popen was asked for
    deadline = time.monotonic() + READY_SECONDS
    printed = b""
    while True:
        for line in printed.splitlines(keepends=True):
            if line.startswith(b"ready ") and line.endswith(b"\n"):
                return line.split()[1].decode()
        left = max(0.0, deadline - time.monotonic())
        if not select.select([child.stdout], [], [], left)[0]:
            raise RuntimeError(f"cannot start {name}: not ready in time: {printed!r}")
        more = os.read(child.stdout.fileno(), 65536)
        if not more:
            raise RuntimeError(f"cannot start {name}: it ended first: {printed!r}")
        printed += more
