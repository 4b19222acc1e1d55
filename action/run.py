"""Run one command of the action: `run.py start`, `stop` or `clean-up`.

Python is started with -I, so that nothing of the workspace, which is the working directory, is
imported: only this repository, and the packages that `install` has put into the folder
ACTION_PACKAGES.
"""

# ruff: noqa: INP001  a program, not a part of a package

import os
import sys
from pathlib import Path

# Before the packages of the machine, which may have others of the same names.
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), os.environ["ACTION_PACKAGES"]]

from launcher.interruption import Interruption  # noqa: E402

with Interruption() as interruption:
    from launcher.action.run import run  # late: it takes half a second

    code = run(sys.argv[1], interruption)
sys.exit(code)
