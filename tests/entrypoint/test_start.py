"""The container's first program as PID 1, with programs on PATH that stand in for the others."""

import json
import os
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START = ROOT / "entrypoint" / "start"
PROGRAMS = Path(__file__).parent / "programs"
PATH = f"{PROGRAMS}:/usr/bin:/bin:/usr/sbin:/sbin"
PATIENCE = 60.0

OWN_SOCKET = "unix:///run/runner-sidecar/docker.sock"

pytestmark = pytest.mark.root


class Started:
    """The program, first in a process namespace of its own, with a /run of its own."""

    def __init__(self, process, run):
        self.process = process
        self.run = run

    @property
    def pid(self):
        """PID 1, as this machine numbers it."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def signal(self, number=signal.SIGTERM):
        """Send PID 1 a signal."""
        os.kill(self.pid, number)

    def line(self):
        """Wait for one line of its output."""
        return self.process.stdout.readline()

    def log(self):
        """Return what is kept of the daemon's lines, the newest last."""
        kept = []
        for name in ("dockerd.log.1", "dockerd.log"):
            with suppress(FileNotFoundError):  # one becomes the other
                kept += (self.run / "runner-sidecar" / name).read_text().splitlines()
        return kept

    def ended(self):
        """Wait for its end; give exit code, the rest of its output, and its errors."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, errors


@contextmanager
def starting(tmp_path, *argv, before=":", **env):
    """Run it for the block; `before` is a shell's line that prepares its namespace."""
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
        yield Started(process, run)
    finally:
        late.cancel()
        process.kill()
        process.communicate()


def started(tmp_path, *argv, **more):
    """Run it to its end; give exit code, what the agent tells, and the errors."""
    with starting(tmp_path, *argv, **more) as one:
        code, out, errors = one.ended()
        return code, json.loads(out) if out else None, errors


# --- who it becomes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "agent_s"),
    [
        ([], ["run"]),
        (["--name-prefix", "a b"], ["run", "--name-prefix", "a b"]),
        (["sh", "-c", "exit  7"], ["run", "--", "sh", "-c", "exit  7"]),
        (["/bin/true", "--help"], ["run", "--", "/bin/true", "--help"]),
        (["runner-sidecar", "health"], ["health"]),
        (["runner-sidecar", "run", "--", "true"], ["run", "--", "true"]),
    ],
)
def test_it_becomes_the_agent(tmp_path, argv, agent_s):
    """Without a command one life, with one its supervisor; the same process, and no other."""
    code, told, errors = started(tmp_path, *argv)
    assert (code, errors) == (7, "")
    assert told["argv"] == agent_s
    assert told["pid"] == 1
    assert told["children"] == []


def test_the_daemon_alone(tmp_path):
    """With its own arguments, as the first process; it hears a stop, and no agent is begun."""
    argv = ("dockerd", "--host=unix:///run/docker.sock", "--group=root")
    with starting(tmp_path, *argv, ENTRYPOINT_DOCKERD="true", DOCKERD="hangs") as daemon:
        assert daemon.line() == "lines by a follower\n"
        while not (daemon.run / "began").exists():
            assert daemon.process.poll() is None
        daemon.signal()
        assert daemon.ended()[0] == 0
        assert (daemon.run / "heard").read_text() == "TERM"


def test_the_agent_s_environment_is_the_container_s(tmp_path):
    """Nothing is added, and what is the entrypoint's own is taken out: a job would see it."""
    given = {"LIFE": "one", "ENTRYPOINT_DOCKERD": "false", "ENTRYPOINT_DOCKERD_TIMEOUT": "3"}
    _, told, _ = started(tmp_path, **given)
    assert set(told["env"]) - {"PWD", "OLDPWD", "_", "SHLVL"} == {"PATH", "LANG", "LIFE"}


def test_a_stop_waits_until_the_agent_can_hear_it(tmp_path):
    """As PID 1 a program loses a signal that it has no handler for: this one is kept for it."""
    with starting(tmp_path, AGENT="waits") as one:
        assert one.line()
        one.signal()
        assert one.line() == "pending\n"
        assert one.ended()[0] == 7


# --- with a docker daemon -------------------------------------------------------------------------


def test_the_agent_begins_when_the_daemon_answers(tmp_path):
    """The daemon is its child, its socket nobody's but root's, and named to the agent."""
    code, told, errors = started(tmp_path, ENTRYPOINT_DOCKERD="true", DOCKERD="answers")
    assert (code, errors) == (7, "")
    assert told["env"]["DOCKER_HOST"] == OWN_SOCKET
    assert not [name for name in told["env"] if name.startswith("ENTRYPOINT_")]
    assert [child for child in told["children"] if f"--host={OWN_SOCKET}" in child]
    assert told["mode"] == "0o700"


def test_a_terminal_s_ctrl_c_is_not_the_daemon_s(tmp_path):
    """It leads a session of its own, so that the agent alone decides what a stop means."""
    _, told, _ = started(tmp_path, ENTRYPOINT_DOCKERD="true", DOCKERD="answers")
    assert told["log"][0][0] == "lines by a leader"


@pytest.mark.parametrize("command", ["health", "version"])
def test_the_agent_s_other_commands_start_no_daemon(tmp_path, command):
    """They answer at once."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "hangs"}
    code, told, _ = started(tmp_path, "runner-sidecar", command, **env)
    assert (code, told["children"]) == (7, [])


def test_a_container_that_is_started_again_starts_afresh(tmp_path):
    """A socket and a process number of its last life keep nobody out."""
    before = (
        "mkdir -p /run/runner-sidecar /run/docker/containerd;"
        "touch /run/runner-sidecar/docker.sock;"
        "echo 1 >/run/runner-sidecar/dockerd.pid; echo 1 >/run/docker/containerd/containerd.pid"
    )
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "answers"}
    assert started(tmp_path, before=before, **env)[0] == 7
    assert not (tmp_path / "run" / "docker").exists()


def test_what_the_daemon_says_is_bounded(tmp_path):
    """The newest lines are kept, beside the agent's own log and never in it."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "answers", "DOCKERD_LINES": "23456"}
    with starting(tmp_path, AGENT="waits", **env) as one:
        assert json.loads(one.line())
        while (kept := one.log())[-1:] != ["line 23455"]:
            assert one.process.poll() is None
        assert len(kept) == 5000 + 23457 % 5000
        one.signal()
        assert one.line() == "pending\n"
        assert one.ended() == (7, "", "")


def test_a_daemon_that_dies_is_told_with_its_last_lines(tmp_path):
    """At once, and the agent never begins: no token is taken for a life that has no docker."""
    code, told, errors = started(tmp_path, ENTRYPOINT_DOCKERD="true", DOCKERD="dies")
    assert (code, told) == (24, None)
    assert errors.splitlines()[-2:] == [
        "dockerd: failed to mount overlay: operation not permitted",
        "cannot start the docker daemon: it ended at once; the container must be privileged",
    ]


def test_a_daemon_that_never_answers_is_given_up(tmp_path):
    """After as many seconds as were told, by the setting's name; it is asked to end."""
    env = {"ENTRYPOINT_DOCKERD": "true", "ENTRYPOINT_DOCKERD_TIMEOUT": "1", "DOCKERD": "hangs"}
    code, told, errors = started(tmp_path, **env)
    assert (code, told) == (24, None)
    assert errors.endswith("no answer within 1 s (ENTRYPOINT_DOCKERD_TIMEOUT)\n")


def test_a_stop_is_heard_while_the_daemon_starts(tmp_path):
    """The code is that of a stop before anything was registered."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "hangs"}
    with starting(tmp_path, **env) as one:
        while not (tmp_path / "run" / "began").exists():
            assert one.process.poll() is None
        one.signal()
        code, out, errors = one.ended()
    assert (code, out) == (16, "")
    assert errors == "stopped while the docker daemon started\n"


@pytest.mark.parametrize(
    ("env", "said"),
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
def test_a_mistake_is_told_by_its_name(tmp_path, env, said):
    """One line, and nothing is started."""
    code, told, errors = started(tmp_path, **env)
    assert (code, told) == (24, None)
    assert errors == f"cannot start the docker daemon: {said}\n"


def test_an_image_without_a_daemon_says_so(tmp_path):
    """And how to have one."""
    code, _, errors = started(tmp_path, ENTRYPOINT_DOCKERD="true", PATH="/usr/bin:/bin")
    assert code == 24
    assert errors.endswith("this image has none; build it with --target dind\n")


CGROUP_2 = """
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/$GROUP
mkdir $group && echo $$ >$group/cgroup.procs
umount /sys/fs/cgroup
exec unshare --cgroup sh -ec 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' sh "$@"
"""


# Whoever was killed in a group keeps it busy until he is gone.
TIDY = """
mount -t cgroup2 none "$1" && cd "$1" && shift
for group; do until rmdir "$group" 2>/dev/null; do :; done; done
"""


@pytest.fixture
def group(tmp_path):
    """Name a control group for one test; it is gone afterwards."""
    name = f"start-{os.getpid()}"
    yield name
    subprocess.run(
        ["unshare", "--mount", "sh", "-ec", TIDY, "sh", tmp_path, f"{name}/init", name],
        check=True,
        timeout=PATIENCE,
    )


def test_on_cgroup_2_the_daemon_may_make_groups(tmp_path, group):
    """The container's own group holds no process any more, and hands all controllers on."""
    env = {"ENTRYPOINT_DOCKERD": "true", "DOCKERD": "answers", "GROUP": group}
    with starting(tmp_path, before=CGROUP_2, AGENT="waits", **env) as one:
        assert json.loads(one.line())["group"].endswith("/init")
        groups = Path(f"/proc/{one.pid}/root/sys/fs/cgroup")
        assert groups.joinpath("cgroup.procs").read_text() == ""
        controllers = groups.joinpath("cgroup.controllers").read_text()
        assert groups.joinpath("cgroup.subtree_control").read_text() == controllers
        one.signal()
        assert one.line() == "pending\n"
