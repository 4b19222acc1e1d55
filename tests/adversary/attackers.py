"""Set up an attack on the disk: a job's user, and an agent without one of its mends."""

from __future__ import annotations

import pwd
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.lives.stage import OTHER_USER

if TYPE_CHECKING:
    from pathlib import Path

_AGENT = "import sys\n{unmended}\nfrom sidecar.__main__ import main\nsys.exit(main(['run']))\n"

BY_PATHS = """
import os, shutil
from pathlib import Path
from sidecar import host
def make_folder(path, user):
    path.mkdir(parents=True, exist_ok=True)
    if user is not None and os.lstat(path).st_uid == 0:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
def remove_folder(path, stopped=None):
    if path.exists():
        shutil.rmtree(path)
host.make_folder, host.remove_folder = make_folder, remove_folder
"""
"""Work as root by whole paths, which the kernel follows through a job's links."""

LEFT_IN_PLACE = """
from sidecar import host
host.mend_folder = lambda folder, names, user: False
"""
"""Leave what a job put in the place of the runner's folders."""

NOT_PUT_BACK = """
from sidecar.runner.folder import RunnerFolder
RunnerFolder.restore_environment = lambda self: None
"""
"""Leave `.env` and `.path` as the job left them."""


def start_agent(unmended: str = "") -> tuple[str, ...]:
    """Return the command that starts an agent, without the mends that `unmended` takes away."""
    return (sys.executable, "-c", _AGENT.format(unmended=unmended))


def run_as_job(script: str, cwd: Path) -> int:
    """Run a shell script as the job's user; return its exit code."""
    user = pwd.getpwnam(OTHER_USER)
    return subprocess.run(
        ["sh", "-c", script],
        cwd=cwd,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        check=False,
        capture_output=True,
        timeout=60,
    ).returncode


_STRICT = """\
{first_line}
# Crashes where it cannot write its own log, as the real program does before anything else.
import os, sys
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
try:
    for name in ("pages", "blocks"):
        os.makedirs(os.path.join(root, "_diag", name), exist_ok=True)
    open(os.path.join(root, "_diag", "written"), "w").close()
except OSError as error:
    print("Unhandled exception.", error)
    os.abort()
real = root + "/bin/Runner.Listener.real"
os.execv(real, [real, *sys.argv[1:]])
"""


def install_strict_program(folder: Path) -> None:
    """Put a program before the runner's own that crashes where it cannot write its log."""
    program = folder / "bin" / "Runner.Listener"
    first_line = program.read_text().splitlines()[0]  # an interpreter that the user may run
    program.rename(program.with_name("Runner.Listener.real"))
    program.write_text(_STRICT.format(first_line=first_line))
    program.chmod(0o755)
