"""Run the container's first program as PID 1, with stand-ins for the other programs on PATH."""

import json
import os
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.entrypoint.words import WORDS

ROOT = Path(__file__).parents[2]
START = ROOT / "entrypoint" / "start"
PROGRAMS = Path(__file__).parent / "programs"
PATH = f"{PROGRAMS}:/usr/bin:/bin:/usr/sbin:/sbin"
PATIENCE = 60.0

OWN_SOCKET = "unix:///run/runner-sidecar/docker.sock"

pytestmark = pytest.mark.root


class StartedProgram:
    """The program, as the first process of a namespace of its own, with a /run of its own."""

    def __init__(self, process, run):
        self.process = process
        self.run = run

    @property
    def pid(self):
        """The number of PID 1 on this machine."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def signal(self, number=signal.SIGTERM):
        """Send PID 1 a signal."""
        os.kill(self.pid, number)

    def read_line(self):
        """Wait for one line of its output."""
        return self.process.stdout.readline()

    def read_log(self):
        """Return the daemon's lines that are kept, the newest last."""
        kept = []
        for name in ("dockerd.log.1", "dockerd.log"):
            with suppress(FileNotFoundError):  # the first is renamed to the second
                kept += (self.run / "runner-sidecar" / name).read_text().splitlines()
        return kept

    def wait_for_end(self):
        """Wait for its end; returns exit code, the rest of its output, and its errors."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, errors


@contextmanager
def start(tmp_path, *argv, before=":", **env):
    """Run it for the block; `before` is a shell command that prepares its namespace."""
    run = tmp_path / "run"
    run.mkdir()
    inside = f'mount --bind "$RUN_FOLDER" /run; {before}; unset RUN_FOLDER; exec "$@"'
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--cgroup"),
            *("sh", "-ec", inside, "sh", str(START), *argv),
        ],
        env={"PATH": PATH, "LANG": "C.UTF-8", "RUN_FOLDER": str(run), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    late = threading.Timer(PATIENCE, process.kill)
    late.start()
    try:
        yield StartedProgram(process, run)
    finally:
        late.cancel()
        process.kill()
        process.communicate()


def run(tmp_path, *argv, **more):
    """Run it to its end; returns exit code, what the agent reports, and the errors."""
    with start(tmp_path, *argv, **more) as one:
        code, out, errors = one.wait_for_end()
        return code, json.loads(out) if out else None, errors


# --- the agent that it starts ---------------------------------------------------------------------


@pytest.mark.parametrize(("argv", "agent_s"), WORDS)
def test_it_becomes_the_agent(tmp_path, argv, agent_s):
    """It becomes the agent, which runs a life, or supervises a command; no process is added."""
    code, report, errors = run(tmp_path, *argv)
    assert (code, errors) == (7, "")
    assert report["argv"] == agent_s
    assert report["pid"] == 1
    assert report["children"] == []


def test_the_daemon_alone(tmp_path):
    """The daemon runs with its own arguments as the first process, and gets the stop signal."""
    argv = ("dockerd", "--host=unix:///run/docker.sock", "--group=root")
    with start(tmp_path, *argv, ENTRYPOINT_DOCKERD="true", DOCKERD="hangs") as daemon:
        assert daemon.read_line() == "lines by a follower\n"
        while not (daemon.run / "began").exists():
            assert daemon.process.poll() is None
        daemon.signal()
        assert daemon.wait_for_end()[0] == 0
        assert (daemon.run / "heard").read_text() == "TERM"


def test_the_agent_s_environment_is_the_container_s(tmp_path):
    """Nothing is added, and the entrypoint's own variables are removed: jobs would see them."""
    given = {"LIFE": "one", "ENTRYPOINT_DOCKERD": "false", "ENTRYPOINT_DOCKERD_TIMEOUT": "3"}
    _, report, _ = run(tmp_path, **given)
    assert set(report["env"]) - {"PWD", "OLDPWD", "_", "SHLVL"} == {"PATH", "LANG", "LIFE"}


def test_an_early_stop_is_kept_for_the_agent(tmp_path):
    """PID 1 loses a signal without a handler, so the stop is blocked until the agent has one."""
    with start(tmp_path, AGENT="waits") as one:
        assert one.read_line()
        one.signal()
        assert one.read_line() == "pending\n"
        assert one.wait_for_end()[0] == 7


# --- with a docker daemon -------------------------------------------------------------------------


def test_the_agent_starts_when_the_daemon_answers(tmp_path):
    """The daemon is its child; its socket belongs to root, and the agent gets its path."""
    code, report, errors = run(tmp_path, ENTRYPOINT_DOCKERD="true", DOCKERD="answers")
    assert (code, errors) == (7, "")
    assert report["env"]["DOCKER_HOST"] == OWN_SOCKET
    assert not [name for name in report["env"] if name.startswith("ENTRYPOINT_")]
    assert [child for child in report["children"] if f"--host={OWN_SOCKET}" in child]
    assert report["mode"] == "0o700"


def test_a_terminal_s_ctrl_c_does_not_reach_the_daemon(tmp_path):
    """The daemon has a session of its own, so that only the agent gets the signal."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "answers"}
    with start(tmp_path, AGENT="waits", **env) as one:
        assert json.loads(one.read_line())
        while not (kept := one.read_log()):  # they come beside the start of the agent
            assert one.process.poll() is None
        assert kept[0] == "lines by a leader"
        one.signal()
        assert one.wait_for_end() == (7, "pending\n", "")


@pytest.mark.parametrize("command", ["health", "version"])
def test_the_agent_s_other_commands_start_no_daemon(tmp_path, command):
    """These commands answer at once."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "hangs"}
    code, report, _ = run(tmp_path, "runner-sidecar", command, **env)
    assert (code, report["children"]) == (7, [])


def test_a_container_can_be_started_again(tmp_path):
    """An old socket and old process numbers prevent no start."""
    before = (
        "mkdir -p /run/runner-sidecar /run/docker/containerd;"
        "touch /run/runner-sidecar/docker.sock;"
        "echo 1 >/run/runner-sidecar/dockerd.pid; echo 1 >/run/docker/containerd/containerd.pid"
    )
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "answers"}
    assert run(tmp_path, before=before, **env)[0] == 7
    assert not (tmp_path / "run" / "docker").exists()


def test_the_daemon_s_log_is_bounded(tmp_path):
    """The newest lines are kept, in a file of their own."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "answers", "DOCKERD_LINES": "23456"}
    with start(tmp_path, AGENT="waits", **env) as one:
        assert json.loads(one.read_line())
        while (kept := one.read_log())[-1:] != ["line 23455"]:
            assert one.process.poll() is None
        assert len(kept) == 5000 + 23457 % 5000
        one.signal()
        assert one.read_line() == "pending\n"
        assert one.wait_for_end() == (7, "", "")


def test_a_daemon_that_dies_is_reported_with_its_last_lines(tmp_path):
    """It ends at once, before the agent starts: no token is read without docker."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "dies", "DOCKERD_LINES": "4000"}
    code, report, errors = run(tmp_path, **env)
    assert (code, report) == (24, None)
    assert errors.splitlines()[-3:] == [
        "dockerd: line 3999",
        "dockerd: failed to mount overlay: operation not permitted",
        "cannot start the docker daemon: it ended at once; the container must be privileged",
    ]


def test_a_daemon_that_never_answers_ends_the_start(tmp_path):
    """It ends after the seconds of the setting, and names the setting."""
    env = {"ENTRYPOINT_DOCKERD": "true", "ENTRYPOINT_DOCKERD_TIMEOUT": "1", "DOCKERD": "hangs"}
    code, report, errors = run(tmp_path, **env)
    assert (code, report) == (24, None)
    assert errors.endswith("no answer within 1 s (ENTRYPOINT_DOCKERD_TIMEOUT)\n")


def test_a_stop_while_the_daemon_starts_is_handled(tmp_path):
    """The exit code is that of a stop before anything was registered."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "hangs"}
    with start(tmp_path, **env) as one:
        while not (tmp_path / "run" / "began").exists():
            assert one.process.poll() is None
        one.signal()
        code, out, errors = one.wait_for_end()
    assert (code, out) == (16, "")
    assert errors == "stopped while the docker daemon started\n"


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"ENTRYPOINT_DOCKERD": "yes"}, "ENTRYPOINT_DOCKERD=yes is neither true nor false"),
        (
            {"ENTRYPOINT_DOCKERD": "true", "ENTRYPOINT_DOCKERD_TIMEOUT": "soon"},
            "ENTRYPOINT_DOCKERD_TIMEOUT=soon is no number of seconds",
        ),
        (
            {"ENTRYPOINT_DOCKERD": "true", "DOCKER_HOST": "tcp://10.0.0.1:2375"},
            (
                "DOCKER_HOST=tcp://10.0.0.1:2375 is elsewhere; "
                "set ENTRYPOINT_DOCKERD=false to use that one"
            ),
        ),
    ],
    ids=["word", "seconds", "host"],
)
def test_a_wrong_setting_is_named(tmp_path, env, reason):
    """It prints one line, and starts nothing."""
    code, report, errors = run(tmp_path, **env)
    assert (code, report) == (24, None)
    assert errors == f"cannot start the docker daemon: {reason}\n"


def test_an_image_without_a_daemon_says_so(tmp_path):
    """The message says how to build an image with a daemon."""
    code, _, errors = run(tmp_path, ENTRYPOINT_DOCKERD="true", PATH="/usr/bin:/bin")
    assert code == 24
    assert errors.endswith("this image has none; build it with --target dind\n")


CGROUP_2 = """
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/$GROUP
mkdir $group && echo $$ >$group/cgroup.procs
umount /sys/fs/cgroup
exec unshare --cgroup sh -ec 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' sh "$@"
"""


# A killed process keeps its group busy until it is collected.
TIDY = """
mount -t cgroup2 none "$1" && cd "$1" && shift
for group; do until rmdir "$group" 2>/dev/null; do :; done; done
"""


@pytest.fixture
def group(tmp_path):
    """Return the name of a control group for one test; it is removed afterwards."""
    name = f"start-{os.getpid()}"
    yield name
    subprocess.run(
        ["unshare", "--mount", "sh", "-ec", TIDY, "sh", tmp_path, f"{name}/init", name],
        check=True,
        timeout=PATIENCE,
    )


def test_on_cgroup_2_the_daemon_may_make_groups(tmp_path, group):
    """The container's own group holds no process, and all controllers are passed on."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "answers", "GROUP": group}
    with start(tmp_path, before=CGROUP_2, AGENT="waits", **env) as one:
        assert json.loads(one.read_line())["group"].endswith("/init")
        groups = Path(f"/proc/{one.pid}/root/sys/fs/cgroup")
        assert groups.joinpath("cgroup.procs").read_text() == ""
        controllers = groups.joinpath("cgroup.controllers").read_text()
        assert groups.joinpath("cgroup.subtree_control").read_text() == controllers
        one.signal()
        assert one.read_line() == "pending\n"
