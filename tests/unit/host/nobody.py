"""The user nobody: tests try with it what a job may try."""

import os
import subprocess

from sidecar import host

NOBODY = host.find_user("nobody")


def as_nobody(script, *arguments, cwd="/"):
    """Run a shell script as that user; gives exit code and standard error."""
    ended = subprocess.run(
        ["sh", "-c", script, "-", *map(str, arguments)],
        cwd=cwd,
        user=NOBODY.uid,
        group=NOBODY.gid,
        extra_groups=[],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return ended.returncode, ended.stderr
