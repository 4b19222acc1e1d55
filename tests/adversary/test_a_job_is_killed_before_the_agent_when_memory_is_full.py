"""The kernel kills a process of the job, not the agent, when the job has used up the memory.

Only SYS_RESOURCE may lower a score. Without it a file stands for the kernel's.
"""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from sidecar import host

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

from sidecar.host import posix_memory, posix_processes
from tests.adversary.cell import play

SYS_RESOURCE = 24


def may_lower():
    """Return whether this process has that capability."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> SYS_RESOURCE & 1)
    return False


@pytest.fixture
def score(monkeypatch, tmp_path):
    """Let a file stand for this process's score."""
    file = tmp_path / "oom_score_adj"
    file.write_text("0\n")
    monkeypatch.setattr(posix_memory, "_score_file", str(file))
    monkeypatch.setattr(posix_memory, "_usual", [])
    return file


@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_a_child_starts_with_the_usual_score(score, monkeypatch, mended):
    """Written by the agent itself, so it is the lowest one that the job can go back to."""
    started_with = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            started_with.append(int(score.read_text()))
            super().__init__(*arguments, **options)

    monkeypatch.setattr(posix_processes.subprocess, "Popen", Popen)
    if not mended:
        monkeypatch.setattr(posix_processes, "usual_memory_score", nullcontext)
    assert host.protect_from_memory_kill()
    with host.spawn(["true"], {"PATH": "/usr/bin:/bin"}, Path("/"), None) as child:
        child.wait(30)
    assert started_with == [0 if mended else -900]
    assert int(score.read_text()) == -900


@pytest.mark.parametrize(("given", "usual"), [("500", 500), ("-300", 0), ("-1000", 0)])
def test_a_child_keeps_what_the_container_was_given(score, given, usual):
    """But never a score that protects it."""
    score.write_text(given)
    assert host.protect_from_memory_kill()
    with host.usual_memory_score():
        assert int(score.read_text()) == usual
    assert int(score.read_text()) == -900


def test_without_the_capability_everything_is_as_it_was(score):
    """The agent has no protection then, and starts children all the same."""
    score.unlink()
    assert not host.protect_from_memory_kill()
    with host.usual_memory_score():
        assert not score.exists()


if may_lower():  # elsewhere the file above has to do

    @pytest.mark.root
    @pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
    def test_a_job_cannot_lower_its_score_below_the_usual_one(mended):
        """The kernel lets a process go back only to what one with the capability wrote last."""
        assert play("lower_score", mended) == {"agent": -900, "job": 0 if mended else -900}
