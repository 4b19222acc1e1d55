"""A process that nobody asked to stay, on POSIX."""

import os
import sys

assert sys.platform != "win32"

SECONDS = 600


def leave_behind(root: str) -> None:
    """Fork twice, begin a session, forget the environment; `_diag/daemon.pid` tells its number.

    It holds no mark of the job, so that the clean-up of orphans cannot know it (as with sudo),
    and ends by itself after ten minutes.
    """
    path = os.path.join(root, "_diag", "daemon.pid")
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.rename(path + ".new", path)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, 256)
    os.execve("/bin/sleep", ["left-behind", str(SECONDS)], {})  # noqa: S606 - no shell is wanted
