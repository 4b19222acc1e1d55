"""Hold: what a task definition may change leaves the promises to jobs as docs/security.md says.

One life for each setting, and in each the same attacks by the runner's user: look for the
registration token beside `configure`, read the listener, plant a program in `~/.aws/config` and
another node, leave a daemon. They fail beside a root agent; the life of an agent that has the
job's own user shows that each of them works.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.runner import install
from tests.lives.stage import (
    AS_PID_1,
    ON_UVLOOP,
    OTHER_USER,
    open_stage,
    read_file,
    read_output,
    run_side_by_side,
)

pytestmark = pytest.mark.root

UNUSED = 64125
"""An id that no account and no other process has."""


def become(uid):
    """Return the start of a program that changes to a user and to the group of the same number."""
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")


AS_UNUSED = (
    *become(UNUSED),
    # It may read the checkout and the interpreter, which can be in a folder of root's alone.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)

LISTENER = """\
#!{python} -IS
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "lib"))
if sys.argv[1:2] == ["configure"]:
    with open("{meeting}/begun", "w") as begun:
        begun.write("configure\\n")
    with open("{meeting}/looked") as looked:
        looked.read()
from runner_program.listener import main
main(os.path.dirname(here))
"""
WORKER = """\
import os, sys
sys.argv.insert(0, "Runner.Worker")
sys.path.insert(0, os.path.abspath("lib"))
from runner_program.worker import main
main(os.path.dirname(os.getcwd()))
"""
LOOK = """\
read -r verb <{meeting}/begun
grep -sqzF -f {meeting}/token /proc/[0-9]*/environ && echo token
echo "looked at $verb" | tee {meeting}/looked
"""
JOB = """\
listener=$$
until tr '\\0' ' ' </proc/$listener/cmdline | grep -q 'Runner.Listener run'; do
    listener=$(awk '/^PPid/ {{ print $2 }}' /proc/$listener/status)
done
head -c 1 /proc/$listener/environ >/dev/null 2>&1 && echo "GAINED environment"
(: </proc/$listener/mem) 2>/dev/null && echo "GAINED memory"
cd {externals}
mv node20 old 2>/dev/null && echo "GAINED node"
mkdir -p node20/bin 2>/dev/null && rm -f node20/bin/node 2>/dev/null && echo "GAINED node"
(env -i PATH="$PATH" setsid sleep {seconds} >/dev/null 2>&1 &)
until grep -qsa "{listed}" /proc/[0-9]*/cmdline; do sleep 0.02; done
echo tried
"""
PROCESS = """\
#!/bin/sh
id -u >{ran}
echo '{credentials}'
"""
CREDENTIALS = {"Version": 1, "AccessKeyId": "AKIAOFTHEJOB", "SecretAccessKey": "SECRET"}

DAEMON = "86399"
"""The seconds for which a job's daemon would sleep: by this number it is found."""
LISTED = "8639[9]"
"""A pattern for it, which does not find the program that looks."""
NO_DAEMON = f'"$@"; code=$?; ! grep -qsa "{LISTED}" /proc/[0-9]*/cmdline || exit 98; '
NEIGHBOUR = (
    'setpriv --reuid="$0" --regid="$0" --clear-groups sleep 600 & '
    '"$@"; code=$?; kill -0 $! || exit 97; exit $code'
)
AS_CHILD = ("sh", "-c", f"{NO_DAEMON}exit $code", "sh")
"""A process that starts another, and then looks whether a job's daemon is left."""
READ_ONLY = "mount --bind {folder} {folder}\nmount -o remount,bind,ro /\n"
BIN_ELSEWHERE = "mount --bind {folder}/runner/bin {folder}/runner/bin\n"


@dataclass(frozen=True)
class Row:
    """A row of the table: how the agent is started, and what its log must say."""

    start: tuple[str, ...]
    shown: tuple[str, str]
    """A file in /proc of the namespace's first process, and a text in it: the row is in force."""
    mounts: str = ""
    """Shell commands for the mounts of the container."""
    limited: str = ""
    """The reason why processes are not killed by their user; empty where they are."""
    provided: str = "linked"
    """Give `configure` a program of its own."""


def find_nobody():
    """Return the id of the runner's user."""
    return pwd.getpwnam(OTHER_USER).pw_uid


NOT_FIRST = ("status", "Name:\tsh\n")
ROWS = {
    "readonlyRootFilesystem": Row(AS_PID_1, ("mountinfo", " / ro,"), READ_ONLY),
    "bin-on-another-file-system": Row(
        AS_PID_1, ("mountinfo", "/runner/bin rw,"), BIN_ELSEWHERE, provided="copied"
    ),
    "no-new-privileges": Row(
        (*AS_PID_1, "setpriv", "--no-new-privs"), ("status", "NoNewPrivs:\t1\n")
    ),
    "initProcessEnabled": Row((*AS_PID_1, *AS_CHILD), NOT_FIRST),
    "pidMode": Row(
        (*AS_PID_1, "sh", "-c", NEIGHBOUR, str(find_nobody()), *AS_CHILD),
        NOT_FIRST,
        limited="the pid namespace may be others' too: the agent is not its first process",
    ),
}
NOT_ROOT = Row(
    (*AS_PID_1, *AS_CHILD, *AS_UNUSED),
    NOT_FIRST,
    limited="jobs have the agent's own user",
    provided="",
)


def mount(row, stage):
    """Return the whole start of the agent, with the row's mounts."""
    if not row.mounts:
        return row.start
    mounts = row.mounts.format(folder=shlex.quote(str(stage.folder)))
    return (*row.start, "sh", "-c", f'set -e\n{mounts}exec "$@"', "sh")


def make_meeting(stage):
    """Make the two pipes by which `configure` and the attacker wait for each other."""
    meeting = stage.folder / "meeting"
    meeting.mkdir(mode=0o755)
    for name in ("begun", "looked"):
        os.mkfifo(meeting / name)
        (meeting / name).chmod(0o666)
    (meeting / "token").write_text(stage.token)
    return meeting


def install_compiled(folder):
    """Lay out a runner whose processes run a compiled program of `bin/`, as the real one's do."""
    root = install(folder)
    listener = root / "bin" / "Runner.Listener"
    interpreter = listener.read_text().splitlines()[0].removeprefix("#!").split()[0]
    worker = root / "bin" / "Runner.Worker"
    worker.unlink()
    shutil.copyfile(interpreter, worker)
    worker.chmod(0o755)
    (root / "bin" / "spawnclient").write_text(WORKER)  # its first argument, so its script
    return root


def plant_settings(stage):
    """Write AWS settings with a program, as an earlier job did; return the home and its proof."""
    home, ran = stage.folder / "home", stage.folder / "ran"
    (home / ".aws").mkdir(parents=True)
    program = home / "program"
    program.write_text(PROCESS.format(ran=ran, credentials=json.dumps(CREDENTIALS)))
    program.chmod(0o755)
    (home / ".aws" / "config").write_text(f"[default]\ncredential_process = {program}\n")
    return home, ran


def give(path, uid):
    """Give a folder and all that is in it to a user."""
    for here, _, files in os.walk(path):
        for each in (here, *(os.path.join(here, name) for name in files)):  # noqa: PTH118
            os.chown(each, uid, -1)


@contextmanager
def attacking(meeting, uid):
    """Let a process of the runner's user, which no agent kills, look for the token once."""
    start = AS_UNUSED if uid == UNUSED else become(uid)
    argv = [*start, "sh", "-c", LOOK.format(meeting=meeting)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watcher:
        try:
            yield watcher
        finally:
            watcher.kill()


async def attack(aws, row, uid):
    """Play the attacks in a life; return what they gained, and the life."""
    async with open_stage(aws, install_runner=install_compiled) as stage:
        await stage.put()
        meeting = make_meeting(stage)
        program = stage.runner_folder / "bin"
        (program / "Runner.Listener").write_text(
            LISTENER.format(python=program / "Runner.Worker", meeting=meeting)
        )
        home, ran = plant_settings(stage)
        give(home, uid)
        if uid == UNUSED:
            give(stage.runner_folder, uid)
        step, open_gate = stage.make_gate()
        externals = stage.runner_folder / "externals"
        job = stage.job(step, JOB.format(externals=externals, seconds=DAEMON, listed=LISTED))
        env = {"HOME": str(home), "AWS_CONFIG_FILE": None, "AWS_SHARED_CREDENTIALS_FILE": None}
        # The coverage tool writes into the checkout, which is not a volume of the container's.
        env |= {key: None for key in os.environ if key.startswith("COVERAGE")}
        if uid == UNUSED:
            env["SIDECAR_RUNNER_USER"] = None
        with attacking(meeting, uid) as watcher:
            async with stage.life((*mount(row, stage), *ON_UVLOOP), env=env) as life:
                await stage.wait_for_output(job, "at the gate")
                file, text = row.shown
                assert text in read_file(f"/proc/{life.pid}/{file}").decode()
                open_gate()
                await stage.check_end(life, 0)
            looked = watcher.stdout.read().splitlines()
        assert job.result == "succeeded"
        printed = read_output(job).splitlines()
        assert "tried" in "\n".join(printed)
        assert looked[-1:] == ["looked at configure"]
        gained = {line.rpartition(" ")[2] for line in printed if "GAINED " in line}
        gained |= set(looked[:-1])
        if ran.exists():
            gained.add(f"program as {ran.read_text().strip()}")
        assert ("node" in gained) is not (externals / "node20" / "bin" / "node").exists()
        return gained, life


def check_log(life, row):
    """Check that the log says what does not hold, and nothing else."""
    reasons = [event["reason"] for event in life.find_events("process.kill_limited")]
    assert reasons == [row.limited] * bool(row.limited)
    provided = life.find_events("runner.program_provided")
    assert [event["how"] for event in provided] == [row.provided] * bool(row.provided)


@pytest.mark.parametrize("setting", ROWS)
def test_a_job_gains_nothing_beside_a_root_agent(aws, setting):
    """All attacks fail; where processes are not killed by their user, the log says why.

    With `pidMode` a neighbour of the runner's user lives on. With an init, and with `pidMode`, no
    daemon of the job does; elsewhere it ends with the agent's pid namespace.
    """

    async def play():
        gained, life = await attack(aws, ROWS[setting], find_nobody())
        assert gained == set()
        check_log(life, ROWS[setting])
        refused = life.find_events("aws.configuration_refused")
        assert [Path(event["path"]).name for event in refused] == ["config"]

    run_side_by_side(play())


def test_a_job_gains_all_beside_an_agent_of_its_own_user(aws):
    """So each attack works. The life ends well all the same, and the job's daemon with it.

    The log says that processes are not killed by their user.
    """

    async def play():
        gained, life = await attack(aws, NOT_ROOT, UNUSED)
        program = f"program as {UNUSED}"
        assert gained == {"token", "environment", "memory", "node", program}
        check_log(life, NOT_ROOT)
        assert not life.find_events("aws.configuration_refused")

    run_side_by_side(play())
