"""Each Python that the README names runs: parts of the agent, and a whole life."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tomllib
from typing import NamedTuple

import pytest
import yaml

from tests.engines.roots import REPOSITORY
from tests.pythons import sources

PARTS = tuple(
    f"tests/unit/{part}"
    for part in ("cli", "host", "lifecycle", "log", "net", "settings", "shutdown", "tokens")
)
"""Where Pythons differ: event loops, processes, signals, files, types at run time."""
ELSEWHERE = ("root", "docker", "node", "shellcheck", "alone")
"""Marks of tests that need this machine's tools, or all of its time."""
PYTEST = ("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--no-header")
LIMIT, DEADLINE = 1200.0, 240.0
"""Seconds for the parts, and for a life; on a quiet machine these take a tenth of it."""


class Ended(NamedTuple):
    """The end of a program."""

    code: int
    output: str


@pytest.fixture(scope="module", params=[each for each in sources.VERSIONS if sources.is_here(each)])
def python(request):
    """Return the command of another Python, and its version; each in turn."""
    command = sources.create(request.param)
    assert command is not None
    return command, request.param


def run(command, *arguments, timeout):
    """Run a Python to its end, on the repository's own tree."""
    env = {
        "HOME": os.environ.get("HOME", "/root"),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
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


@pytest.mark.docker
def test_parts_pass(python, record_property):
    """The tests of the parts in which Pythons differ; it is this Python that plays them."""
    command, version = python
    shown = run(command, "-c", "import sys; print(sys.version)", timeout=60)
    assert shown.output.startswith(f"{version}."), shown.output
    chosen = " and ".join(f"not {mark}" for mark in ELSEWHERE)
    ended = run(command, *PYTEST, "-m", chosen, *PARTS, timeout=LIMIT)
    assert ended.code == 0, ended.output[-20000:]
    record_property(f"Python {version}", ended.output.rstrip().splitlines()[-1])


@pytest.mark.docker
def test_a_whole_life_is_lived(python):
    """As `make demo` shows it, with the program that it starts."""
    command, _ = python
    ended = run(command, "-m", "local.demo", f"--deadline={DEADLINE}", timeout=DEADLINE + 30)
    assert ended.code == 0, ended.output
    assert ended.output.rstrip().splitlines()[-1].startswith("demo: ok")


def test_no_other_python_is_promised():
    """What pyproject and the README name is played here, and by the workflow on GitHub."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    assert names == ["3.11", *sources.VERSIONS]
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["pythons"]["strategy"]["matrix"]["python"] == names
    first, last = re.findall(
        r"Python (3\.\d+) to (3\.\d+)", (REPOSITORY / "README.md").read_text()
    )[0]
    assert (first, last) == (names[0], names[-1])
    minor = int(names[-1].partition(".")[2])
    assert project["requires-python"] == f">={names[0]},<3.{minor + 1}"
