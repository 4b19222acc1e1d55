"""Run the agent where Ctrl-Break can be sent, as on Windows itself: `agent.py [WORDS]`.

Wine's GenerateConsoleCtrlEvent fails, or ends a process. In its place stands here what Windows
does then: in each process of the group a thread of the system's calls the handlers. A runner's
worker and its steps are in the group, but have no console in common with the agent.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path.cwd())  # as `python -m sidecar` has it

from sidecar.host.win32 import console, snapshot  # noqa: E402
from tests.support.windows import send_event  # noqa: E402

WORKER = "Runner.Worker.exe"


def generate(event, group):
    """Deliver a console event to a process group; return whether there is one."""
    delivered = [deliver(event, pid) for pid in list_group(group)]
    return int(any(delivered))


def deliver(event, pid):
    """Deliver a console event to one process; return whether it runs."""
    try:
        send_event(pid, event)
    except OSError:
        return False
    return True


def list_group(leader):
    """Return a process and those below it, but for a worker with what it has started."""
    listed = snapshot.list_processes()
    found = [leader]
    for parent in found:
        below = {one.pid for one in listed if one.parent == parent and one.name != WORKER}
        found += below.difference(found)
    return found


if __name__ == "__main__":
    console._generate = generate
    from sidecar.__main__ import main

    sys.exit(main(sys.argv[1:]))
