"""A process that nobody asked to stay, on Windows."""

import os
import subprocess
import sys

assert sys.platform == "win32"

SECONDS = 600


def leave_behind(root: str) -> None:
    """Start a process without a console or the job's mark; `_diag/daemon.pid` tells its number.

    It ends by itself after ten minutes.
    """
    python = os.path.join(sys.base_prefix, "python.exe")
    daemon = subprocess.Popen(
        [python, "-IS", "-c", f"import time; time.sleep({SECONDS})  # left-behind"],
        env={"SYSTEMROOT": os.environ["SYSTEMROOT"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        creationflags=subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
    )
    path = os.path.join(root, "_diag", "daemon.pid")
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(f"{daemon.pid}\n")
    os.replace(path + ".new", path)
