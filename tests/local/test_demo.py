"""Run `make demo` as a person does: whole processes, checked by last line and exit code."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local import leftovers
from local.demo.endings import ENDINGS
from sidecar.errors import Exit

ROOT = Path(__file__).parents[2]
DEADLINE, TIMEOUT = 240.0, 270.0
"""Seconds: the demo gives a person a verdict after one minute; here the machine is busy."""


def run_demo(*options, code=None):
    """Run it to its end; returns its exit code and its lines."""
    start = ["-c", code] if code else ["-m", "local.demo"]
    ended = subprocess.run(
        [sys.executable, *start, f"--deadline={DEADLINE}", *options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    return ended.returncode, ended.stdout.rstrip().splitlines()


def in_order(lines, *parts):
    """Return whether each of `parts` is in a line below that of the part before."""
    rest = iter(lines)
    return all(any(part in line for line in rest) for part in parts)


def test_a_whole_life_is_shown_and_verified():
    """One life from the token to nothing left: its steps are shown, and the end is `ok`."""
    code, lines = run_demo()
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("demo: ok")
    assert in_order(
        lines,
        "has read the token",
        "runner     √ Runner successfully added",
        "has registered ecs-",
        "Z: Listening for Jobs",
        "Z: Running job: build",
        "prints: I am",
        "has asked AWS who it is: assumed-role/runner-task",
        "is over: succeeded",
        "Z: Job build completed with result: Succeeded",
        "ends with exit code 0 (done)",
        "What is left",
    )
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    ("stop", "parts"),
    [
        ("busy", ("is asked to stop, but a job runs", "is over: failed", "exit code 22")),
        ("idle", ("is asked to stop", "has removed ecs-", "program end", "exit code 0 (done)")),
        ("crash", ("signal 6 killed it", "has removed ecs-", "exit code 15")),
    ],
)
def test_each_other_ending_is_shown_and_verified(stop, parts):
    """STOP=busy, idle and crash each show and verify their own ending."""
    code, lines = run_demo(f"--stop={stop}")
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("demo: ok")
    assert in_order(lines, *parts, "What is left")


@pytest.mark.parametrize("name", ENDINGS)
def test_exit_codes_are_the_documented_ones(name):
    """The exit codes that the demo expects are those of the agent."""
    ending = ENDINGS[name]
    assert Exit(ending.exit_code).name.lower() == ending.outcome


def test_an_unknown_ending_is_one_clear_line():
    """A wrong STOP fails at once, and the line names the right ones."""
    code, lines = run_demo("--stop=buzy")
    assert code == 1
    assert lines == ["demo: failed: cannot show the ending STOP=buzy: try one of busy, idle, crash"]


def test_it_gives_up_at_its_deadline():
    """It fails at its deadline, whatever hangs, and says what is not yet done."""
    code, lines = run_demo("--deadline=0.01")
    assert code == 1
    assert lines[-1].startswith("demo: failed: it took longer than 0.01 s; not yet done: demo")


OTHER_CODE = """
import dataclasses, sys
from local.demo import __main__, endings
endings.ENDINGS["idle"] = dataclasses.replace(endings.ENDINGS["idle"], exit_code=17)
sys.exit(__main__.main())
"""
RUNNER_STAYS = """
import functools, sys
from local import github
from local.demo import __main__
late = github.Settings(deregister_after=300.0)
github.serving = functools.partial(github.serving, settings=late)
sys.exit(__main__.main())
"""
TOKEN_STAYS = """
import sys
from local import ssm, stage
from local.demo import __main__
put_token = stage.Stage.put_token
async def put_two(self):
    ssm.put(self.moto, "/demo/forgotten", "x")
    return await put_token(self)
stage.Stage.put_token = put_two
sys.exit(__main__.main())
"""


@pytest.mark.parametrize(
    ("code", "option", "why"),
    [
        (OTHER_CODE, "--stop=idle", r"the agent's exit code: 0 \(done\) instead of 17"),
        (RUNNER_STAYS, "--stop=", r"runners at GitHub: ecs-[\w-]+ instead of nothing"),
        (TOKEN_STAYS, "--stop=crash", "parameters in SSM: /demo/forgotten instead of nothing"),
    ],
    ids=["another-code", "a-runner-left", "a-parameter-left"],
)
def test_it_is_not_ok_when_something_is_wrong(code, option, why):
    """It verifies from outside, and does not only trust the agent's log."""
    ended, lines = run_demo(option, code=code)
    assert ended == 1
    assert re.match(r"demo: failed: .*" + why, lines[-1]), "\n".join(lines)


def start_demo():
    """Start the demo of a job that takes long."""
    return subprocess.Popen(
        [sys.executable, "-m", "local.demo", "--stop=busy", f"--deadline={DEADLINE}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def read_until(descriptor, part):
    """Read until `part` was printed, or up to the end; returns all of it."""
    said = b""
    deadline = time.monotonic() + TIMEOUT
    while part is None or part not in said:
        left = max(0.0, deadline - time.monotonic())
        assert select.select([descriptor], [], [], left)[0], f"nothing more after {said!r}"
        try:
            more = os.read(descriptor, 65536)
        except OSError:  # the other side of the terminal is closed
            break
        if not more:
            break
        said += more
    return said


def find_folder(pid):
    """Return the demo's temporary folder, found by the FIFOs that it has open in there."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = entry.readlink()
        except FileNotFoundError:
            continue
        if target.parent.name == "container":
            return target.parents[1]
    raise AssertionError("it has no FIFO open")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_an_interrupted_demo_leaves_nothing(number):
    """Ctrl-C in the middle of a job ends every process and removes every file."""
    with start_demo() as child:
        try:
            said = read_until(child.stdout.fileno(), b"has given the job")
            folder = find_folder(child.pid)
            child.send_signal(number)
            said += read_until(child.stdout.fileno(), None)
            assert child.wait(timeout=TIMEOUT) == 1
        finally:
            child.kill()
    last = said.decode().rstrip().splitlines()[-1]
    assert last == "demo: failed: it was interrupted, and has cleaned up"
    assert not folder.exists()
    assert leftovers.find(folder) == {}


def test_a_terminal_gets_colours_and_the_same_last_line():
    """A person sees colours and what goes on; the last line stays plain."""
    own, its = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "local.demo", "--stop=idle", f"--deadline={DEADLINE}"],
            cwd=ROOT,
            stdin=its,
            stdout=its,
            stderr=its,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
        ) as child:
            os.close(its)
            its = -1
            said = read_until(own, None).decode()
            assert child.wait(timeout=TIMEOUT) == 0, said
    finally:
        os.close(own)
        if its != -1:
            os.close(its)
    assert "\x1b[36magent" in said
    assert said.rstrip().splitlines()[-1].startswith("demo: ok")


def test_a_process_that_is_left_is_found_and_killed(tmp_path):
    """A process with the mark of a stage is found, whatever became of its parent."""
    program = f"import sys; print('ready', flush=True); sys.stdin.read()  # {tmp_path}"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, leftovers.MARK: str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        read_until(child.stdout.fileno(), b"ready")
        assert list(leftovers.find(tmp_path)) == [child.pid]
        leftovers.kill(tmp_path)
        assert child.wait(timeout=TIMEOUT) == -signal.SIGKILL
    assert leftovers.find(tmp_path) == {}


def test_each_job_with_its_own_role_is_shown_and_verified():
    """ROLES=1: two branches have two roles; a container told "none" and a fork have none."""
    code, lines = run_demo("--roles")
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("demo: ok")
    assert in_order(
        lines,
        "has the role of the rule “deploy”",
        "has asked AWS who it is: assumed-role/deploy",
        "has the role of the rule “build”",
        "has asked AWS who it is: assumed-role/build",
        "sees a container being created, for which the rule “untrusted” says: none",
        "has asked, by the job's own path, from 127.0.0.2, who it is: nobody",
        "gives this job no role: no rule of SIDECAR_ROLES",
        "has asked AWS who it is: nobody",
        "the relay's reason",
        "containers at the engine",
    )
    assert any("neither docker nor root" in line for line in lines)


ALL_ARE_OWN = """
import sys
from local.demo import __main__, played_network
python, option, program = played_network.COMMAND
unmended = (
    "from sidecar.relay.identities import Identities; "
    "Identities.by_path = lambda self, path, peer='': self.default"
)
played_network.COMMAND = (python, option, unmended + program)
sys.exit(__main__.main())
"""
"""An agent that does not tell a container apart from its job."""


def test_the_roles_are_not_ok_when_a_container_has_its_job_s():
    """The container's answer is the relay's, and not played."""
    ended, lines = run_demo("--roles", code=ALL_ARE_OWN)
    assert ended == 1
    assert "its container that is told “none” is: assumed-role/build instead of" in lines[-1]
