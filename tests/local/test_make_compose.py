"""Run `make compose` with a docker that only prints how it was called."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0
DOCKER = """#!/bin/sh
echo "docker $* FAIL=$FAIL"
case $* in *" up "*) eval "$UP" ;; esac
"""


def run_make(folder, up):
    """Run it with a docker whose `compose up` runs the shell code `up`; returns code and calls."""
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
    """Everything is taken down in any case; the runner's log is shown after a failure."""
    assert run_make(tmp_path, "exit 0") == (0, [UP, DOWN])
    code, calls = run_make(tmp_path, "exit 1")
    assert code != 0
    assert calls == [UP, LOGS, DOWN]


def test_an_interrupted_story_is_taken_down(tmp_path):
    """Ctrl-C reaches compose, too; afterwards everything is taken down."""
    code, calls = run_make(tmp_path, "trap 'exit 130' INT; kill -INT 0")
    assert code != 0
    assert calls == [UP, LOGS, DOWN]
