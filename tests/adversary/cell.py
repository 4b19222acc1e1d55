"""A pid namespace of its own for one attack: what is in it ends with its first process.

`play` runs a function of `tests.adversary.plays` as root in it, as or below the first process, and
returns what the function returns. Attacks run as ATTACKER, whom no other program of the machine is,
and have a limit of processes and of time of their own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ATTACKER, BYSTANDER = 64123, 64124
"""The runner's user of these plays, and another one; nobody has their numbers."""
LIMIT = 120.0
"""Seconds for one play; it takes about one."""
_SPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_PLAY = (
    "import sys, json; from tests.adversary import plays;"
    "print(json.dumps(getattr(plays, sys.argv[1])(*json.loads(sys.argv[2]))))"
)
_BELOW = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"


def play(name: str, *arguments: Any, below: int = 0) -> Any:
    """Run a play as the first process of its namespace, or as many generations below it."""
    program = [
        sys.executable,
        "-c",
        _PLAY,
        name,
        json.dumps([str(one) if isinstance(one, Path) else one for one in arguments]),
    ]
    for _ in range(below):
        program = [sys.executable, "-c", _BELOW, *program]
    ended = subprocess.run(
        [*_SPACE, *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that every user may write into; remove it after the block."""
    folder = Path(tempfile.mkdtemp(prefix="adversary-", dir="/tmp"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
