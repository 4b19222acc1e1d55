"""`make compose`, with a docker that only tells how it was called."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0
DOCKER = """#!/bin/sh
echo "docker $* FAIL=$FAIL"
case $* in *" up "*) exit $UP ;; esac
"""


@pytest.mark.parametrize("code", [0, 1])
def test_its_exit_code_is_the_story_s(tmp_path, code):
    """All is taken down whatever it was; the runner's log is shown where it is of interest."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(
        ["make", "compose", "FAIL=1"],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "UP": str(code)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert (done.returncode == 0) == (code == 0)
    up, *rest = done.stdout.splitlines()
    assert up == "docker compose up --build --exit-code-from stand-ins FAIL=1"
    wanted = ["logs runner", "down --volumes --timeout 0"][0 if code else 1 :]
    assert rest == [f"docker compose {words} FAIL=1" for words in wanted]
