"""A container of the image is stopped as ECS stops one: the order of the stop, and its time.

IMAGE names the image, which the workflow has built before.
"""

import json
import os
import subprocess
import threading
from contextlib import contextmanager

import pytest

IMAGE = os.environ.get("IMAGE", "")
PATIENCE = 240.0
STOP_TIMEOUT = 60
LONG = 15
"""Seconds that a command takes to end: more than Windows gives by itself (5), or to services (20
or less)."""
HOME = r"C:\Program Files\runner-sidecar"
COMMAND = """
import ctypes, os, threading, time
done = threading.Event()
@ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)
def handle(event):
    print('got', event, flush=True)
    done.set()
    if event > 1:
        threading.Event().wait()
    return 1
ctypes.windll.kernel32.SetConsoleCtrlHandler(None, 0)
ctypes.windll.kernel32.SetConsoleCtrlHandler(handle, 1)
print('ready', flush=True)
while not done.wait(0.5):
    pass
time.sleep({seconds})
print('ended', flush=True)
os._exit(33)
"""

pytestmark = pytest.mark.skipif(not IMAGE, reason="needs IMAGE, which windows.yml builds")


def docker(*words, timeout=PATIENCE):
    """Run docker's client; returns its output."""
    done = subprocess.run(
        ["docker", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=timeout,
    )
    return done.stdout


@contextmanager
def run_container(*command, **env):
    """Run a container for the block; yields its id and an iterator over its lines."""
    variables = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    container = docker("run", "--detach", *variables, IMAGE, *command).strip()
    follower = subprocess.Popen(
        ["docker", "logs", "--follow", container],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Timer(PATIENCE, follower.kill)
    late.start()
    try:
        yield container, iter(follower.stdout)
    finally:
        late.cancel()
        docker("rm", "--force", container)
        follower.kill()
        follower.communicate()


def read_until(lines, part):
    """Return the lines up to the first one that holds `part`, which must come."""
    read = []
    for line in lines:
        read.append(line)
        if part in line:
            return read
    raise AssertionError(f"no {part} in: {''.join(read)}")


def exit_code(container):
    """Return a container's exit code."""
    return json.loads(docker("inspect", container))[0]["State"]["ExitCode"]


def stop(seconds):
    """Stop a container whose command takes this long to end; returns its lines and exit code."""
    command = (rf"{HOME}\python.exe", "-c", COMMAND.format(seconds=seconds))
    with run_container(*command, SIDECAR_STOP_TIMEOUT=str(STOP_TIMEOUT)) as (container, lines):
        read_until(lines, "ready")
        docker("stop", "-t", str(STOP_TIMEOUT), container)  # its long name depends on the version
        return list(lines), exit_code(container)


def test_a_stop_asks_the_agent_first():
    """The command hears Ctrl-Break from the agent, and no shutdown from Windows before it ends."""
    lines, code = stop(seconds=0)
    assert [line for line in lines if line.startswith("got")] == ["got 1\n"], "".join(lines)
    assert any('"stop.requested"' in line for line in lines)
    assert any('"life.ended"' in line for line in lines)
    assert code == 33


def test_windows_waits_for_the_stop_budget():
    """The registry's values of the image count: a command that takes long still ends by itself."""
    lines, code = stop(seconds=LONG)
    assert "ended\n" in lines, "".join(lines)
    assert any('"life.ended"' in line for line in lines)
    assert code == 33


def test_the_image_is_healthy_and_has_its_tools():
    """The health check's program and those on PATH run, in the very image."""
    command = (rf"{HOME}\python.exe", "-c", COMMAND.format(seconds=0))
    with run_container(*command) as (container, lines):
        read_until(lines, "ready")
        docker("exec", container, "runner-sidecar.exe", "health")
        assert "git version" in docker("exec", container, "git", "--version")
        assert "Docker version" in docker("exec", container, "docker", "--version")
        assert docker("exec", container, r"C:\actions-runner\bin\Runner.Listener.exe", "--version")


def test_a_life_says_what_it_needs():
    """Without a token the container ends with the agent's own exit code."""
    with run_container() as (container, lines):
        assert any("SIDECAR_TOKEN_PARAMETER is missing" in line for line in lines)
        docker("wait", container)
        assert exit_code(container) == 11
