"""`make demo` as a person runs it: whole processes, judged by their last line and exit code."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.demo import leftovers
from local.demo.endings import ENDINGS
from sidecar.errors import Exit

ROOT = Path(__file__).parents[2]
TIMEOUT = 90.0
"""Seconds; the demo itself gives up after a minute."""


def demo(*options, code=None):
    """Run it to its end; gives its exit code and its lines."""
    start = ["-c", code] if code else ["-m", "local.demo"]
    ended = subprocess.run(
        [sys.executable, *start, *options],
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
    """Whether each of `parts` stands in a line below the line of the one before."""
    rest = iter(lines)
    return all(any(part in line for line in rest) for part in parts)


def test_a_whole_life_is_shown_and_verified():
    """One life from the token to nothing left: each step is told once, and the end is `ok`."""
    code, lines = demo()
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("demo: ok")
    assert in_order(
        lines,
        "has read the registration token",
        "has registered ecs-",
        "says: I am",
        "has asked AWS who it is: assumed-role/runner-task",
        "is over: succeeded",
        "ends with exit code 0 (done)",
        "What is left",
    )
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ("busy", ("heard the stop, but a job runs", "is over: canceled", "exit code 22")),
        ("idle", ("heard the stop", "has removed ecs-", "program end", "exit code 0 (done)")),
        ("crash", ("signal 6 killed it", "has removed ecs-", "exit code 15")),
    ],
)
def test_each_other_ending_is_shown_and_verified(stop, told):
    """STOP=busy, idle and crash show their own ending and verify it."""
    code, lines = demo(f"--stop={stop}")
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("demo: ok")
    assert in_order(lines, *told, "What is left")


@pytest.mark.parametrize("name", ENDINGS)
def test_exit_codes_are_the_documented_ones(name):
    """What the demo wants of the agent is what the agent's reference promises."""
    ending = ENDINGS[name]
    assert Exit(ending.exit_code).name.lower() == ending.outcome


def test_an_unknown_ending_is_one_clear_line():
    """A typing mistake costs no time, and names what there is."""
    code, lines = demo("--stop=buzy")
    assert code == 1
    assert lines == [
        "demo: failed: STOP=buzy is no ending that it can show (try one of busy, idle, crash)"
    ]


def test_it_gives_up_at_its_deadline():
    """Whatever hangs, it ends, says what was under way, and fails."""
    code, lines = demo("--deadline=0.01")
    assert code == 1
    assert lines[-1].startswith("demo: failed: it took longer than 0.01 s; under way was: demo")


OTHER_CODE = """
import dataclasses, sys
from local.demo import __main__, endings
endings.ENDINGS["idle"] = dataclasses.replace(endings.ENDINGS["idle"], exit_code=17)
sys.exit(__main__.main())
"""
RUNNER_STAYS = """
import functools, sys
from local.demo import __main__, stage
from local.github import Settings
lazy = Settings(deregister_after=300.0)
stage.github.serving = functools.partial(stage.github.serving, settings=lazy)
sys.exit(__main__.main())
"""
TOKEN_STAYS = """
import sys
from local import aws
from local.demo import __main__, stage
mint = stage.Stage.mint
def twice(self):
    aws.put(self.aws, "/demo/forgotten", "x")
    return mint(self)
stage.Stage.mint = twice
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
def test_it_is_never_ok_where_something_is_wrong(code, option, why):
    """What it verifies it asks for itself: the agent's own word is not enough."""
    ended, lines = demo(option, code=code)
    assert ended == 1
    assert re.match(r"demo: failed: .*" + why, lines[-1]), "\n".join(lines)


def running():
    """Start the demo of a job that takes long."""
    return subprocess.Popen(
        [sys.executable, "-m", "local.demo", "--stop=busy"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def read_until(descriptor, part):
    """Read until `part` was printed or nothing comes any more; gives all of it."""
    said = b""
    deadline = time.monotonic() + TIMEOUT
    while part is None or part not in said:
        left = max(0.0, deadline - time.monotonic())
        assert select.select([descriptor], [], [], left)[0], f"nothing more after {said!r}"
        try:
            more = os.read(descriptor, 65536)
        except OSError:  # a terminal whose other side is gone
            break
        if not more:
            break
        said += more
    return said


def folder_of(pid):
    """Give the demo's temporary folder, by the FIFOs it holds open in it."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = entry.readlink()
        except FileNotFoundError:
            continue
        if target.parent.name == "container":
            return target.parents[1]
    raise AssertionError("it holds no FIFO open")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_an_interrupted_demo_leaves_nothing(number):
    """Ctrl-C in the middle of a job takes every process and every file along."""
    with running() as child:
        try:
            said = read_until(child.stdout.fileno(), b"has given the job")
            folder = folder_of(child.pid)
            child.send_signal(number)
            said += read_until(child.stdout.fileno(), None)
            assert child.wait(timeout=TIMEOUT) == 1
        finally:
            child.kill()
    last = said.decode().rstrip().splitlines()[-1]
    assert last == "demo: failed: it was interrupted, and has cleaned up"
    assert not folder.exists()
    assert leftovers.processes(str(folder)) == {}


def test_a_terminal_gets_colours_and_the_same_last_line():
    """A person sees colour and what is under way; the last line stays plain."""
    own, its = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "local.demo", "--stop=idle"],
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


def test_a_process_left_behind_is_found_and_ended(tmp_path):
    """Whoever carries the mark of a life is found, whatever became of its parent."""
    life = str(tmp_path)
    program = f"import sys; print('ready', flush=True); sys.stdin.read()  # {life}"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, leftovers.MARK: life},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        read_until(child.stdout.fileno(), b"ready")
        assert list(leftovers.processes(life)) == [child.pid]
        leftovers.kill(life)
        assert child.wait(timeout=TIMEOUT) == -signal.SIGKILL
    assert leftovers.processes(life) == {}
