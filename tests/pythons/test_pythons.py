"""Each Python that the README names runs: the portable tests, and a whole life."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import NamedTuple

import pytest

from tests.engines.roots import REPOSITORY
from tests.pythons import sources
from tests.windows import portable

REQUIRED = os.environ.get("REQUIRE_PYTHONS") == "1"
ELSEWHERE = ("root", "docker", "node", "shellcheck", "alone")
"""Marks of tests that need this machine's tools, or all of its time."""
CHANCE = "test_no_malformed_request_is_accepted"
"""A test by chance: it says much about the code, little about a Python, and takes long."""
PYTEST = (
    *("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--no-header"),
    *("-m", " and ".join(f"not {mark}" for mark in ELSEWHERE)),
    *("-k", f"not {CHANCE}", *portable.SYSTEM, "tests/unit/shutdown"),
)
LIMIT, DEADLINE = 1200.0, 240.0
"""Seconds for the tests, and for a life; on a quiet machine these take a tenth of it."""


class Ended(NamedTuple):
    """The end of a program."""

    code: int
    output: str


@pytest.fixture(scope="module", params=sources.OTHERS)
def python(request):
    """Return the command of another Python, each in turn; skip what cannot be had or made."""
    version = request.param
    refuse = pytest.fail if REQUIRED else pytest.skip
    if missing := sources.find_missing(version):
        refuse(f"needs {missing}, to run on Python {version}")
    if not REQUIRED and not sources.is_built(version):
        pytest.skip(f"needs Python {version}: python -m tests.pythons.sources makes it")
    command = sources.create(version)
    shown = run(command, "-c", "import sys; print(sys.version)", timeout=60)
    assert shown.output.startswith(f"{version}."), shown.output
    return command


def run(command, *arguments, timeout):
    """Run a Python to its end, on the repository's own tree."""
    env = {
        "HOME": os.environ.get("HOME", "/root"),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(REPOSITORY),
    }
    program = subprocess.Popen(
        (*command, *arguments),
        cwd=REPOSITORY,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = program.communicate(timeout=timeout)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    return Ended(program.returncode, output)


def test_portable_tests_pass(python, request, record_property):
    """The tests of single parts pass on another Python, too."""
    ended = run(python, *PYTEST, timeout=LIMIT)
    assert ended.code == 0, ended.output[-20000:]
    version = request.node.callspec.params["python"]
    record_property(f"Python {version}", ended.output.rstrip().splitlines()[-1])


def test_a_whole_life_is_lived(python):
    """The demo verifies all it shows, with an agent and a runner on the same Python."""
    ended = run(python, "-m", "local.demo", f"--deadline={DEADLINE}", timeout=DEADLINE + 30)
    assert ended.code == 0, ended.output
    assert ended.output.rstrip().splitlines()[-1].startswith("demo: ok")
