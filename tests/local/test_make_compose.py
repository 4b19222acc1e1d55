"""`make compose`, with a docker that only tells how it was called."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0
DOCKER = """#!/bin/sh
echo "docker $* FAIL=$FAIL"
case $* in *" up "*) eval "$UP" ;; esac
"""


def made(folder, up):
    """Run it with a docker whose `compose up` is the shell's `up`; give its code and its calls."""
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    done = subprocess.run(
        ["make", "compose", "FAIL=1"],
        cwd=ROOT,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "UP": up},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        start_new_session=True,
    )
    return done.returncode, done.stdout.splitlines()


UP, LOGS, DOWN = (
    f"docker compose {words} FAIL=1"
    for words in (
        "up --build --exit-code-from stand-ins",
        "logs runner",
        "down --volumes --timeout 0",
    )
)


def test_its_exit_code_is_the_story_s(tmp_path):
    """All is taken down whatever it was; the runner's log is shown where it is of interest."""
    assert made(tmp_path, "exit 0") == (0, [UP, DOWN])
    code, calls = made(tmp_path, "exit 1")
    assert code != 0
    assert calls == [UP, LOGS, DOWN]


def test_an_interrupted_story_is_taken_down(tmp_path):
    """Ctrl-C reaches everybody at the terminal; compose ends in its own time."""
    code, calls = made(tmp_path, "trap 'exit 130' INT; kill -INT 0")
    assert code != 0
    assert calls == [UP, LOGS, DOWN]
