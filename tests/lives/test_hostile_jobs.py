"""Run jobs that misbehave: the agent survives, cleans up after them, and reports the truth.

Each step's log begins with the script itself. So a job prints words that its script holds only in
parts ("be"gun), and these are searched in the log.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.lives.stage import (
    IS_ROOT,
    ON_UVLOOP,
    PATIENCE,
    list_processes,
    open_stage,
    read_file,
    run_side_by_side,
    wait_until,
)

FIND_LISTENER = """\
listener=$$
until tr '\\0' ' ' < /proc/$listener/cmdline | grep -q 'Runner.Listener run'; do
    listener=$(awk '/^PPid/ { print $2 }' /proc/$listener/status)
done
"""
"""Shell commands by which a step finds the listener's process number, as any job can."""

SAME_USER = {"SIDECAR_RUNNER_USER": "root" if IS_ROOT else None}
"""A job with the agent's own user can write into the pipe between listener and agent."""

BOMB = """\
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def bomb(processes_at_most, sign):
    """Return a step that starts a fork bomb, and makes the file `sign` when it is full."""
    return (
        f"ulimit -u {processes_at_most}; SECONDS=0\n"
        f"python3 -c {shlex.quote(BOMB)} > /dev/null 2>&1 &\n"
        f"while ((SECONDS < 2)); do :; done; : > {sign}"  # nothing here needs to fork
    )


def count_processes(name):
    """Return how many processes a user has."""
    import pwd

    uid = pwd.getpwnam(name).pw_uid

    def own(pid):
        try:
            return Path(f"/proc/{pid}").stat().st_uid == uid
        except OSError:
            return False

    return sum(map(own, list_processes()))


def read_peak_kib(pid):
    """Return the most memory that a process has held so far."""
    for line in read_file(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("the agent is gone")


@pytest.mark.root
@pytest.mark.parametrize("stopped", [False, True], ids=["left-behind", "stopped-meanwhile"])
def test_a_fork_bomb_is_killed(aws, stopped):
    """A fork bomb, within its user's limit, has no process left after the life."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            full = stage.folder / "full"
            step = bomb(count_processes("nobody") + 60, full)
            job = stage.job(step + ("; exec sleep 600" if stopped else ""))
            async with stage.life(env={"SIDECAR_STOP_TIMEOUT": "24"}) as life:
                await wait_until(full.exists, "the bomb at its height")
                if stopped:
                    life.signal()
                stage.give_up(job, 6.0)  # it may be killed before it can report to GitHub
                await stage.check_end(life, 22 if stopped else 0)

    run_side_by_side(play())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_line_of_a_gigabyte_takes_no_memory(aws):
    """A job writes it into the listener's stdout: the agent logs how much it cut off."""
    size = 1 << 30

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            gate, open_gate = stage.make_gate()
            job = stage.job(
                f'{FIND_LISTENER}echo "rea"dy; {gate}',
                f"{FIND_LISTENER}(head -c {size} /dev/zero | tr '\\0' x; echo) "
                '> /proc/$listener/fd/1; echo "pou"red',
                f"{(second := stage.make_gate())[0]}",
            )
            echo = {**SAME_USER, "ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT": "1"}
            async with stage.life(env=echo) as life:
                await stage.wait_for_output(job, "ready")
                before = read_peak_kib(life.pid)
                open_gate()
                await stage.wait_for_output(job, "poured")
                await wait_until(lambda: "bytes cut]" in life.text, "the line")
                grown = read_peak_kib(life.pid) - before
                second[1]()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert grown < 32 * 1024, f"the agent grew by {grown} KiB"
            (line,) = [
                e["line"] for e in life.find_events("listener.printed") if "bytes cut]" in e["line"]
            ]
            cut = int(line.rpartition("[")[2].split()[0])
            assert size - 8192 <= cut < size
            assert len(line) < 9000

    run_side_by_side(play())


FORGED = """\
2026-01-01 00:00:00Z: Listening for Jobs
2026-01-01 00:00:00Z: Running job: another
2026-01-01 00:00:00Z: Job build completed with result: Failed
The runner no longer exists on the server. Cleaning up local configuration.
An error occurred: Runner version v2.0.0 is deprecated and cannot receive messages.
{"event": "life.ended", "exit_code": 0, "level": "info"}
\x1b[2K\x1b[1A{"event": "token.deleted"}
\r{"event": "runner.deregistered", "rung": "api"}
"""


def test_forged_lines_are_only_logged(aws):
    """What a job writes into the listener's stdout becomes no event and changes no outcome."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            (stage.folder / "forged").write_text(FORGED, newline="")
            gate, open_gate = stage.make_gate()
            job = stage.job(
                f"{FIND_LISTENER}cat {stage.folder}/forged > /proc/$listener/fd/1", gate
            )
            async with stage.life(env=SAME_USER) as life:
                last = FORGED.splitlines()[-1].lstrip("\r")
                await life.wait_for_event("listener.printed", line="\\r" + last)
                open_gate()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert (
                len(life.find_events("life.ended"))
                == len(life.find_events("runner.deregistered"))
                == 1
            )
            assert life.find_events("runner.deregistered")[0]["rung"] == "github"
            assert "\x1b" not in life.text

    run_side_by_side(play())


def test_a_job_may_close_its_streams(aws):
    """A job without output still ends its life in good order."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job(f"exec 0<&- 1>&- 2>&-; touch {stage.folder}/done; (sleep 600 &)")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert (stage.folder / "done").exists()

    run_side_by_side(play())


def test_the_reader_of_the_log_may_end_while_a_job_runs(aws):
    """When nobody reads the agent's stdout any more, the job ends and all is cleaned up."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            gate, open_gate = stage.make_gate()
            job = stage.job('echo "be"gun', gate, "for i in $(seq 2000); do echo $i; done")
            reading, writing = os.pipe()
            env = {**stage.environment(), "ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT": "1"}
            process = await asyncio.create_subprocess_exec(
                *ON_UVLOOP, env=env, stdout=writing, stderr=writing, stdin=subprocess.DEVNULL
            )
            os.close(writing)
            try:
                await stage.wait_for_output(job, "begun")
                os.close(reading)
                open_gate()
                assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
                await stage.check_no_processes()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                stage.kill_processes()
            assert job.result == "succeeded"
            assert await stage.read_parameter() is None
            assert list(stage.world.runners) == []

    run_side_by_side(play())


ON_SMALL_DISK = """\
mount -t tmpfs -o size={size},mode=755 none {disk} && cp -a {root}/. {disk}/ &&
mount --bind {disk} {root} && exec "$@"
"""


@pytest.mark.root
@pytest.mark.parametrize("stopped", [False, True], ids=["ends", "stopped-meanwhile"])
def test_a_full_disk_prevents_no_cleanup(aws, stopped):
    """A job fills the disk of the runner's folder: token and runner are deleted all the same."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(time_scale=0.1)
            disk = stage.folder / "disk"
            disk.mkdir()
            mounting = ON_SMALL_DISK.format(size="24m", disk=disk, root=stage.runner_folder)
            unshared = (
                f'exec unshare --mount --propagation private sh -c {shlex.quote(mounting)} sh "$@"'
            )
            argv = ("sh", "-c", unshared, "sh", *ON_UVLOOP)
            fill = "cat /dev/zero > fill 2>&1 || true; cat /dev/zero > more 2>&1"
            job = stage.job(
                f'{fill} || echo "fu"ll; df --output=avail . | tail -1'
                + ("; sleep 600" if stopped else "")
            )
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": "25"}) as life:
                await stage.wait_for_output(job, "full\n")
                if stopped:
                    life.signal()
                stage.give_up(job, 10.0)  # it may not report what it could not write
                await stage.check_end(life, 22 if stopped else 0)
            if not stopped:
                assert job.result in ("succeeded", "failed")

    run_side_by_side(play())


def test_daemons_of_a_job_are_killed(aws):
    """Processes without mark, terminal or parent, that ignore signals or hold the log open, die."""
    daemon = "trap '' HUP INT TERM QUIT PIPE; cd /; while :; do sleep 600; done"
    hide = f'env -i PATH="$PATH" setsid setsid sh -c {shlex.quote(daemon)} &'

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job(
                "for i in 1 2 3 4 5 6 7 8; do\n"
                f"    ({hide} echo $! >> {stage.folder}/daemons)\n"
                "done",
                "nohup sleep 601 & disown; exit 0",
            )
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            planted = (stage.folder / "daemons").read_text().split()
            assert len(planted) == 8
            assert set(planted) & set(list_processes()) == set()

    run_side_by_side(play())


@pytest.mark.alone
def test_a_listener_that_its_job_stopped_is_killed(aws):
    """After SIGSTOP the listener handles no interrupt, so it is killed within the stop budget.

    The runner's job has ended at GitHub, but the agent does not know it: the exit code says that it
    did not end in time, as far as is known.
    """

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job(f'{FIND_LISTENER}kill -STOP $listener; echo "fro"zen', "sleep 600")
            async with stage.life(env={"SIDECAR_STOP_TIMEOUT": "15"}) as life:
                await stage.wait_for_output(job, "frozen")
                stage.give_up(job)
                life.signal()
                await stage.check_end(life, 22)
            assert life.stop_seconds < 15
            assert "signal 9" in life.find_events("runner.ended")[0]["meaning"]
            assert life.find_events("runner.killed")

    run_side_by_side(play())
