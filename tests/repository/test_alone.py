"""The lock that lets a test have the machine alone, held by real processes."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARING, TURNS = 4, 10

# Takes turns, one after another without a pause: `turns` of them, or until its input ends. The
# log has one line for each begin and each end; a line is written at once and as a whole.
TAKE_TURNS = """
import os, select, sys
from pathlib import Path
from tests.support.alone import hold_machine

folder, kind, turns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while turns and not select.select([sys.stdin], [], [], 0)[0]:
    with hold_machine(folder, alone=kind == "alone"):
        os.write(log, f"{kind} +1\\n".encode())
        if turns < 0:
            sum(range(200_000))  # so long that others get in beside it
        os.write(log, f"{kind} -1\\n".encode())
    turns -= 1
    print("had a turn", flush=True)
"""

MARKED = '''
import fcntl
import pytest
from tests.support.scheduling import SHARED_FOLDER

@pytest.fixture
def free(pytestconfig):
    """Return whether another test could get the machine so."""
    def ask(how):
        with (pytestconfig.stash[SHARED_FOLDER] / "machine").open() as machine:
            try:
                fcntl.flock(machine, how | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True
    return ask

@pytest.mark.parametrize("number", range(4))
def test_shared(free, number):
    """Others may run meanwhile, but none that is alone."""
    assert free(fcntl.LOCK_SH)
    assert not free(fcntl.LOCK_EX)

@pytest.mark.alone
@pytest.mark.parametrize("number", range(2))
def test_alone(free, number):
    """No other may run."""
    assert not free(fcntl.LOCK_SH)
'''


def start(folder, kind, turns):
    """Start a process that takes turns; its standard input ends it."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKE_TURNS, str(folder), kind, str(turns)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def count_inside(log):
    """Return how many of both kinds were inside after each line of the log."""
    inside = {"shared": 0, "alone": 0}
    for line in log.splitlines():
        kind, change = line.split()
        inside[kind] += int(change)
        yield inside["shared"], inside["alone"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_one_that_is_alone_gets_in_among_many_and_overlaps_none(tmp_path):
    """Four that share come again without a pause, and never stop before the other had its turns."""
    with ExitStack() as stack:
        sharing = [stack.enter_context(start(tmp_path, "shared", -1)) for _ in range(SHARING)]
        for each in sharing:
            assert each.stdout.readline() == "had a turn\n"
        alone = stack.enter_context(start(tmp_path, "alone", TURNS))
        try:
            assert alone.wait(30) == 0  # one that is starved gets no turn in all this time
        finally:
            alone.kill()
            for each in sharing:
                each.communicate()
    seen = list(count_inside((tmp_path / "log").read_text()))
    assert sum(alone for _, alone in seen) == TURNS
    assert max(shared for shared, alone in seen if alone) == 0
    assert max(shared for shared, _ in seen) > 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_marked_tests_come_last_on_one_worker_and_have_the_machine_alone(tmp_path):
    """Every other test shares the machine."""
    for name in ("a", "b", "c"):
        (tmp_path / f"test_{name}.py").write_text(MARKED)
    options = ("-c", ROOT / "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-v", tmp_path],
        env={"PYTHONPATH": str(ROOT), "PATH": "/nowhere"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "18 passed" in done.stdout
    passed = [line.split() for line in done.stdout.splitlines() if "PASSED" in line]
    (worker,) = {words[0] for words in passed if "test_alone" in words[-1]}
    there = ["test_alone" in words[-1] for words in passed if words[0] == worker]
    assert there == sorted(there)
