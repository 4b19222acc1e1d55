"""What only POSIX knows: users, files, children found in /proc, and the FIFO of the job hooks."""

import asyncio
import getpass
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sidecar import host
from tests.support.loops import on_both, run
from tests.support.namespace import in_namespace

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

from sidecar.host import posix

NOBODY = host.identity("nobody")


def as_nobody(script, *arguments, cwd="/"):
    """Run a shell script as the user nobody; gives exit code and standard error."""
    ended = subprocess.run(
        ["sh", "-c", script, "-", *map(str, arguments)],
        cwd=cwd,
        user=NOBODY.uid,
        group=NOBODY.gid,
        extra_groups=[],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return ended.returncode, ended.stderr


# --- this process -------------------------------------------------------------------------------


def test_the_loop_is_uvloop_s_where_it_is_installed(monkeypatch):
    """Else asyncio's own, which asyncio chooses itself."""
    factory = host.loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        assert type(runner.get_loop()).__module__ == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert host.loop_factory() is None


def test_hardening_hides_memory_and_adopts_orphans():
    """The process is not dumpable any more, and a grandchild whose parent ended becomes a child."""
    program = (
        "import ctypes, os, time\n"
        "from sidecar import host\n"
        "host.hear_shutdown()\n"
        "host.harden()\n"
        "print('dumpable', ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    os.read(read, 1)\n"
        "    os._exit(9)\n"
        "codes = []\n"
        "codes.append(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "os.write(write, b'x')\n"
        "codes.append(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "print('collected', codes)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(posix.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert said.splitlines() == ["dumpable 0", "collected [0, 9]"]


@pytest.mark.parametrize(
    ("file", "count"),
    [
        (b"low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        (b"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        (b"low 0\n", 0),
    ],
    ids=["version 2", "version 1", "an old kernel's"],
)
def test_processes_killed_for_want_of_memory_are_counted(monkeypatch, tmp_path, file, count):
    """By either version of control groups, whichever is there; none is no error."""
    path = tmp_path / "events"
    monkeypatch.setattr(posix, "_MEMORY_EVENTS", (str(tmp_path / "none"), str(path)))
    assert host.memory_kills() == 0
    path.write_bytes(file)
    assert host.memory_kills() == count


def test_a_system_without_prctl_is_left_as_it_is(monkeypatch):
    """Only Linux has it; elsewhere hardening is nothing."""
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    host.harden()


def test_users_are_found_by_name(monkeypatch):
    """With all their groups; None for one who is not there."""
    own = pwd.getpwuid(os.geteuid())
    found = host.identity(own.pw_name)
    assert (found.uid, found.gid, found.home) == (own.pw_uid, own.pw_gid, own.pw_dir)
    assert own.pw_gid in found.groups
    assert host.identity("no-such-user") is None
    assert host.own_name() == getpass.getuser()
    assert host.is_root() == (os.geteuid() == 0)

    monkeypatch.setattr(posix.os, "geteuid", lambda: 4_000_000_000)
    assert host.own_name() == "4000000000"


def test_the_limit_of_open_files_is_told(monkeypatch):
    """The one that counts, the soft one; none is a very large one."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 4096))
    assert host.most_files() == 300
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert host.most_files() > 10**9


# --- the network namespace ----------------------------------------------------------------------


def on_loopback() -> str:
    """List the addresses of `lo` in this namespace."""
    argv = ["ip", "-oneline", "address", "show", "lo"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")
def test_an_address_is_held_alone_and_let_go():
    """It stands on the loopback with a label of ours; twice is no error, either way."""

    async def play():
        for _ in range(2):
            host.hold_address("169.254.170.23")
            assert on_loopback().count("169.254.170.23/32 scope host lo:sidecar") == 1
        for _ in range(2):
            host.let_address_go("169.254.170.23")
            assert "169.254.170.23" not in on_loopback()

    in_namespace(play())


SQUATTING = """
import socket
one = socket.socket(socket.AF_UNIX)
one.bind("\\0ecs-runner-sidecar")
one.listen()
print("bound", flush=True)
input()
"""


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")
def test_a_network_namespace_has_one_agent():
    """Until that ends, however it ends; what another user claims is no claim."""

    async def play():
        with host.claim_network():
            for _ in range(4):
                assert host.claim_network() is None
        with squatted():
            host.claim_network().close()

    in_namespace(play())


@contextmanager
def squatted():
    """Have another user claim the namespace."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    argv = [python, "-IS", "-c", SQUATTING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes, user=NOBODY.uid) as squatter:
        assert squatter.stdout.readline() == b"bound\n"
        try:
            yield
        finally:
            squatter.kill()


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["nothing", "file", "folder", "link", "dangling"])
def test_a_private_folder_is_empty_and_readable(tmp_path, before):
    """Whatever stood there; a link is taken away, not followed; the umask has no say."""
    path = tmp_path / "state"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    match before:
        case "file":
            path.write_text("x")
        case "folder":
            (path / "deep").mkdir(parents=True)
        case "link":
            path.symlink_to(elsewhere)
        case "dangling":
            path.symlink_to(tmp_path / "nowhere")
    umask = os.umask(0o077)
    try:
        host.private_folder(path)
    finally:
        os.umask(umask)
    assert not path.is_symlink()
    assert list(path.iterdir()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("before", ["nothing", "file", "link"])
def test_a_new_file_replaces_what_stood_there(tmp_path, before):
    """Content and mode are as told; a link's target is not written to."""
    path, target = tmp_path / "file", tmp_path / "target"
    target.write_text("kept")
    if before == "file":
        path.write_text("old")
    elif before == "link":
        path.symlink_to(target)
    umask = os.umask(0o077)
    try:
        host.write_new(path, b"new", 0o755, None)
    finally:
        os.umask(umask)
    assert host.read_regular(path) == (b"new", 0o755)
    assert target.read_text() == "kept"


def test_only_a_regular_file_is_read(tmp_path):
    """No link, no folder, and no FIFO that would block for ever."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    assert host.read_regular(tmp_path / "file")[0] == b"x"
    for name in ("link", "fifo", "missing"):
        assert host.read_regular(tmp_path / name) is None
    assert host.read_regular(tmp_path / "folder") is None


@pytest.mark.root
def test_the_runner_s_user_may_write_beside_bin_and_not_into_it(open_path):
    """It makes its own files; `bin` can be neither replaced nor changed, whoever owned it."""
    root = open_path / "runner"
    (root / "bin" / "deep").mkdir(parents=True)
    (root / "bin" / "Runner.Listener").write_text("program")
    (root / "bin" / "deep" / "library").write_text("code")
    (root / "bin" / "link").symlink_to("deep/library")
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY.uid, NOBODY.gid, follow_symlinks=False)
    host.guard(root, NOBODY)
    host.guard(root, NOBODY)  # again is nothing

    assert stat.S_IMODE(root.stat().st_mode) == 0o1775
    assert {path.lstat().st_uid for path in (root / "bin", *(root / "bin").rglob("*"))} == {0}
    assert (
        as_nobody("echo x >.runner && mkdir _work && rm .runner && rmdir _work", cwd=root)[0] == 0
    )
    for forbidden in (
        "mv bin bin.old",
        "rm -r bin",
        "echo x >bin/Runner.Listener",
        "rm -f bin/Runner.Listener",
        "echo x >bin/deep/library",
        "ln -sfn /tmp bin/link",
        "touch bin/new",
    ):
        code, why = as_nobody(forbidden, cwd=root)
        assert code != 0, forbidden
        assert "denied" in why or "not permitted" in why


@pytest.mark.root
def test_a_new_file_is_the_user_s(tmp_path):
    """What the runner must be able to replace is handed to its user."""
    host.write_new(tmp_path / "file", b"x", 0o600, NOBODY)
    found = (tmp_path / "file").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (
        NOBODY.uid,
        NOBODY.gid,
        0o600,
    )


@pytest.mark.root
def test_a_child_becomes_the_runner_s_user(tmp_path):
    """User, group and groups are all the user's; nothing of root's is left."""
    child = host.spawn(["sh", "-c", "id -u; id -g; id -G"], {"PATH": os.defpath}, Path("/"), NOBODY)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, b"")
    uid, gid, groups = out.decode().splitlines()
    assert (int(uid), int(gid)) == (NOBODY.uid, NOBODY.gid)
    assert {int(group) for group in groups.split()} == set(NOBODY.groups)


# --- children -----------------------------------------------------------------------------------


def test_an_interrupt_for_nobody_is_nothing():
    """A child that has just ended is no error."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(30)
    host.interrupt(child.pid)


def test_a_descendant_is_found_by_its_program_s_name(tmp_path):
    """However deep; by name, not by a word in some argument; not elsewhere."""
    worker = tmp_path / "Runner.Worker"
    worker.write_text('#!/bin/sh\necho "up $1"\nread line\n')
    worker.chmod(0o755)
    with subprocess.Popen(
        ["sh", "-c", 'sh -c \'"$0" spawnclient; :\' "$0"; :', worker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline() == b"up spawnclient\n"
        assert host.has_descendant(child.pid, "Runner.Worker")
        assert host.has_descendant(os.getpid(), "Runner.Worker")
        assert not host.has_descendant(child.pid, "Runner.Work")
        child.stdin.close()
    assert not host.has_descendant(child.pid, "Runner.Worker")


def test_without_proc_the_session_is_killed(monkeypatch):
    """Other Unix systems have no /proc: there the child's session goes, at least."""
    monkeypatch.setattr(posix, "_family", lambda: None)
    with host.spawn(
        ["sh", "-c", "sleep 60 & echo up; wait"], {"PATH": os.defpath}, Path("/"), None
    ) as child:
        assert child.stdout.readline() == b"up\n"
        assert host.kill_leftovers(child.pid, spare=()) == 1
        assert child.wait(30) == -signal.SIGKILL
        assert child.stdout.read() == b""  # nobody holds the pipe any more
    with host.spawn(["true"], {"PATH": os.defpath}, Path("/"), None) as child:
        child.wait(30)
    assert host.kill_leftovers(child.pid, spare=()) == 0
    assert host.kill_leftovers(None, spare=()) == 0
    assert not host.has_descendant(os.getpid(), "Runner.Worker")


def test_a_system_without_proc_is_noticed(monkeypatch):
    """No /proc is no error."""

    def missing(_path):
        raise FileNotFoundError

    monkeypatch.setattr(posix.os, "listdir", missing)
    assert posix._family() is None


@pytest.mark.root
def test_what_may_not_be_killed_is_not_counted():
    """A process of another user survives an agent that is not root, which goes on."""
    program = (
        "import os, sys\n"
        "from sidecar.host import posix\n"
        "os.setuid(int(sys.argv[1]))\n"
        "print(posix._kill(os.getppid()))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(NOBODY.uid)],
        cwd=Path(posix.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert said == "False\n"


def test_with_no_children_there_is_nothing_to_collect():
    """Neither without any child, nor when the first one dead is somebody else's."""
    program = (
        "import os\n"
        "from sidecar.host import posix\n"
        "assert posix.reap_orphans(lambda pid: False) == 0\n"
        "children = []\n"
        "for _ in range(3):\n"
        "    children.append(os.fork())\n"
        "    if children[-1] == 0:\n"
        "        os._exit(0)\n"
        "for child in children:\n"
        "    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n"
        "assert posix.reap_orphans(lambda pid: True) == 0\n"
        "assert posix.reap_orphans(lambda pid: False) == 3\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.close(write)\n"
        "    os.read(read, 1)\n"
        "    os._exit(0)\n"
        "assert posix.reap_orphans(lambda pid: False) == 0\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(posix.__file__).parents[2],
        check=True,
        timeout=30,
    )


# --- job hooks ----------------------------------------------------------------------------------


class Words:
    """What the hooks said; waits for a number of words."""

    def __init__(self):
        self.said = []
        self._came = asyncio.Event()

    def __call__(self, word):
        """Take one word."""
        self.said.append(word)
        self._came.set()

    async def count(self, number):
        """Wait until so many words were said."""
        while len(self.said) < number:
            self._came.clear()
            await self._came.wait()


def hook(folder, word, channel, chained=None, root=Path("/nowhere"), told=None):
    """Write one hook as the agent does."""
    path = folder / f"job-{word}.sh"
    script = host.hook_script(word, channel, chained and str(chained), root, told)
    host.write_new(path, script.encode(), 0o755, None)
    return path


def ran(path, **env):
    """Run a hook as the runner does: by a shell that stops at the first error."""
    return subprocess.run(
        ["bash", "-e", str(path)],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@on_both
def test_a_hook_s_word_reaches_the_agent(loop, tmp_path):
    """Run by the shell, through a path with blanks and quotes in it, without any output."""
    folder = tmp_path / "it's a folder"
    folder.mkdir()

    async def life():
        words = Words()
        async with host.hook_channel(folder, None, words) as channel:
            for number, word in enumerate(("started", "completed"), 1):
                ended = await asyncio.to_thread(ran, hook(folder, word, channel))
                assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
                await words.count(number)
        assert words.said == ["started", "completed"]
        assert not channel.exists()

    run(loop, life())


@on_both
def test_several_words_at_once_are_several(loop, tmp_path):
    """And what is no text, or more than a read takes, does no harm."""

    async def life():
        words = Words()
        async with host.hook_channel(tmp_path, None, words) as channel:
            with channel.open("wb", buffering=0) as fifo:
                fifo.write(b"started\ncompleted\n\xff\n" + b"x" * 10000 + b"\n")
            await words.count(5)
            assert words.said[:3] == ["started", "completed", "\ufffd"]
            channel.unlink()  # as a job could, where the agent is not root

    run(loop, life())


@pytest.mark.parametrize("gone", ["removed", "dead", "full"])
def test_a_hook_fails_open_when_the_agent_is_gone(tmp_path, gone):
    """No FIFO, one that nobody reads, one that is full: the job goes on within about a second."""
    channel = tmp_path / "hook"
    held = None
    if gone != "removed":
        os.mkfifo(channel)
    if gone == "full":
        held = os.open(channel, os.O_RDWR | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(held, b"x" * 4096)
    ended = ran(hook(tmp_path, "started", channel))
    if held is not None:
        os.close(held)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_hook_needs_nothing_but_a_shell(tmp_path):
    """Without `timeout` on PATH it says nothing, and the job goes on."""
    path = hook(tmp_path, "started", tmp_path / "hook")
    ended = subprocess.run(
        ["/bin/sh", str(path)], env={"PATH": "/nowhere"}, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


TOLD = {"URI": "/v2/it's", "REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({}, ["URI", "REGION"]),
        ({"URI": "/v2/it's", "REGION": "us-east-1"}, ["URI"]),
        ({"REGION": ""}, ["URI"]),
        ({"AWS_ACCESS_KEY_ID": "x"}, []),
        ({"AWS_ACCESS_KEY_ID": ""}, []),
    ],
)
def test_a_job_s_containers_are_told_what_the_job_says_nothing_of(tmp_path, env, names):
    """Behind what stands in GITHUB_ENV; what the job's own environment says otherwise stays."""
    file = tmp_path / "github_env"
    file.write_text("BEFORE=1\n")
    path = hook(tmp_path, "started", tmp_path / "gone", told=TOLD)
    ended = ran(path, GITHUB_ENV=str(file), **env)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    expected = ["BEFORE=1", *(f"{name}={TOLD[name]}" for name in names)]
    assert file.read_text().splitlines() == expected


@pytest.mark.parametrize("file", [None, "", "/nowhere/github_env"])
def test_a_job_without_that_file_goes_on(tmp_path, file):
    """An older runner has none; whatever is wrong with it, no job fails for it."""
    path = hook(tmp_path, "started", tmp_path / "gone", told=TOLD)
    ended = ran(path, **({} if file is None else {"GITHUB_ENV": file}))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("code", [0, 3])
def test_the_user_s_own_hook_follows(tmp_path, code):
    """It has the runner's environment, `bash -e`, its output shown, and the last word."""
    own = tmp_path / "it's mine.sh"
    own.write_text(f'echo "$GITHUB_JOB ${{BASH_VERSION:+bash}}"\n(exit {code})\necho went on\n')
    ended = ran(hook(tmp_path, "started", tmp_path / "gone", own), GITHUB_JOB="build")
    assert ended.returncode == code
    assert ended.stdout == "build bash\n" + ("went on\n" if code == 0 else "")


def test_without_bash_the_user_s_hook_is_run_by_sh(tmp_path):
    """As on an image that has none."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    own = tmp_path / "own.sh"
    own.write_text("echo ${BASH_VERSION:-no bash}\nexit 4\n")
    ended = subprocess.run(
        ["/bin/sh", str(hook(tmp_path, "started", tmp_path / "gone", own))],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 4
    if Path("/bin/sh").resolve().name != "bash":
        assert ended.stdout == "no bash\n"


def test_a_user_s_hook_that_is_missing_fails(tmp_path):
    """As it would without the agent: the job must not run without what it was to prepare."""
    assert ran(hook(tmp_path, "started", tmp_path / "gone", tmp_path / "own.sh")).returncode != 0


def test_a_javascript_hook_is_run_by_the_runner_s_newest_node(tmp_path):
    """And not by the one for Alpine, which no other system can start."""
    for version in ("node20", "node20_alpine", "node24", "node24_alpine"):
        program = tmp_path / "externals" / version / "bin" / "node"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\necho "{version} $1"\nexit 6\n')
        program.chmod(0o755)
    ended = ran(hook(tmp_path, "started", tmp_path / "gone", "/own/hook.js", tmp_path))
    assert (ended.returncode, ended.stdout) == (6, "node24 /own/hook.js\n")


def test_a_powershell_hook_is_run_by_powershell(tmp_path):
    """As the runner runs one on Linux, too."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pwsh").write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    (tools / "pwsh").chmod(0o755)
    path = hook(tmp_path, "started", tmp_path / "gone", "/own/hook.PS1")
    ended = ran(path, PATH=f"{tools}:{os.environ['PATH']}")
    assert (ended.returncode, ended.stdout) == (7, "-NoLogo -Command . '/own/hook.PS1'\n")


@pytest.mark.root
@on_both
def test_the_runner_s_user_speaks_to_the_agent_and_nobody_else_does(loop, open_path):
    """The FIFO is the user's alone, in a folder that it cannot change."""
    state = open_path / "state"
    host.private_folder(state)

    async def life():
        words = Words()
        async with host.hook_channel(state, NOBODY, words) as channel:
            found = channel.stat()
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY.uid, 0o600)
            path = hook(state, "started", channel)
            assert (await asyncio.to_thread(as_nobody, 'sh -e "$1"', path))[0] == 0
            await words.count(1)
            assert (await asyncio.to_thread(as_nobody, 'rm -f "$1"', channel))[0] != 0

    run(loop, life())
