"""A job that runs beside `configure` or `remove` looks for the registration token.

A job of an earlier life may have left a process; a job may be given while the runner is removed.
Each test of an attack shows first that it works where these calls are the runner's user's.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.runner import configure, homes, private_call
from sidecar.runner.configure import Registration
from sidecar.runner.private_call import PreparedCall
from sidecar.runner.program import ProgramResult, Subcommand, run_program
from sidecar.runner.registration_request import RegistrationRequest
from tests.adversary.runner_folder import NOBODY, make_runner_folder, run_as_job, start_as_job
from tests.unit.conftest import spare_children  # noqa: F401  pytest finds it by its name

pytestmark = pytest.mark.root

TOKEN = f"AABBCCDD-SECRET-{os.getpid()}"
"""Another worker of this run may play an unmended build meanwhile, in the same pid namespace."""
SEEN = f"ACTIONS_RUNNER_INPUT_TOKEN={TOKEN}"
MEET = 'echo "$1" >"$MEETING/begun"; read -r line <"$MEETING/looked"\n'
"""The program waits here until the job has looked."""
LOOK = """\
read -r verb <"$MEETING/begun"
for file in /proc/[0-9]*/environ; do tr '\\0' '\\n' <"$file" 2>/dev/null; done |
    grep "^ACTIONS_RUNNER_INPUT_TOKEN=$TOKEN"
find "$RUNNER" -name '.credentials*' -exec cat {} + 2>/dev/null
echo "looked at $verb" | tee "$MEETING/looked"
"""
CONFIGURE = """\
if [ "$1" = configure ]; then
    umask 022; [ ! -e .runner ] || exit 9
    echo '{"agentId": 7, "agentName": "build"}' >.runner; echo '{}' >.credentials
    (umask 077; echo key >.credentials_rsaparams); echo '#!/bin/sh' >svc.sh; chmod 755 svc.sh
    echo 'Connected to GitHub'; echo 'Runner successfully added'
else
    grep -q '"agentId": 7,' .runner || exit 8
    rm -f .runner .credentials .credentials_rsaparams; echo 'Runner removed successfully'
fi
"""
REQUEST = RegistrationRequest(
    "https://github.example/o/r", TOKEN, "build", ("x",), False, None, "_work", unique=True
)


@contextmanager
def call_as_runner(folder, env):
    """Prepare a call as it was done before the mend: as the runner's user, in its folder."""
    with homes.make_home(folder.state, folder.user) as variables:
        own = homes.use_home(env, variables)
        yield PreparedCall(folder.listener, own, folder.path, folder.user)


@pytest.fixture(params=[False, True], ids=["unmended", "mended"])
def mended(request, monkeypatch):
    """Return whether the build has the mend."""
    if not request.param:
        monkeypatch.setattr(private_call, "_call_in_private", call_as_runner)
    return request.param


@pytest.fixture(autouse=True)
def _spare(spare_children):  # noqa: F811
    """Keep the test run's own children alive."""


@contextmanager
def make_runner(script, **env):
    """Make a runner's folder with this program, and its registration."""
    with make_runner_folder(script) as folder:
        yield folder, Registration(folder, REQUEST, {"PATH": os.defpath, **env})


def make_meeting(folder):
    """Make the two pipes by which program and job wait for each other; return their folder."""
    place = folder.path.parent / "meeting"
    place.mkdir()
    for name in ("begun", "looked"):
        os.mkfifo(place / name)
        (place / name).chmod(0o666)
    return str(place)


def list_files(folder):
    """Return owner and mode of each file of the runner's folder that a call may make."""
    found = {name: folder.path / name for name in private_call.CHANGED}
    return {
        name: (path.stat().st_uid, path.stat().st_gid, oct(path.stat().st_mode), path.read_text())
        for name, path in found.items()
        if path.exists()
    }


def call(runner, verb):
    """Register the runner, or remove it."""
    asyncio.run(runner.register() if verb == "configure" else runner.remove())


@pytest.mark.parametrize("verb", ["configure", "remove"])
def test_a_job_beside_the_call_does_not_see_the_token(mended, verb):
    """Neither in the environment of any process, nor in any file that it can read."""
    meet = f'if [ "$1" = {verb} ]; then\n{MEET}fi\n'
    with make_runner(meet + CONFIGURE) as (folder, runner):
        meeting = make_meeting(folder)
        runner._env = {**runner._env, "MEETING": meeting}
        if verb == "remove":
            call(runner, "configure")
        job = start_as_job(LOOK, MEETING=meeting, RUNNER=str(folder.private), TOKEN=TOKEN)
        call(runner, verb)
        seen = job.communicate(timeout=60)[0].splitlines()
    assert seen == ([] if mended else [SEEN]) + [f"looked at {verb}"]


def test_the_runner_s_folder_is_as_if_its_user_had_called(monkeypatch):
    """Configure's files have the same names, owners, modes and contents as without the mend."""
    found = []
    for in_private in (False, True):
        with monkeypatch.context() as patch, make_runner(CONFIGURE) as (folder, runner):
            if not in_private:
                patch.setattr(private_call, "_call_in_private", call_as_runner)
            call(runner, "configure")
            found.append(list_files(folder))
            assert in_private is folder.private.exists()
    assert found[0] == found[1]
    assert found[1][".credentials_rsaparams"] == (NOBODY.uid, NOBODY.gid, "0o100600", "key\n")
    assert sorted(found[1]) == [".credentials", ".credentials_rsaparams", ".runner", "svc.sh"]


def test_nothing_is_left_after_a_removal():
    """The runner's folder has no configuration, the private folder no key and no home."""
    with make_runner(CONFIGURE) as (folder, runner):
        call(runner, "configure")
        assert sorted(path.name for path in folder.private.iterdir()) == ["bin"]
        call(runner, "remove")
        assert sorted(list_files(folder)) == ["svc.sh"]
        assert sorted(path.name for path in folder.private.iterdir()) == ["bin"]


def test_a_removal_believes_nothing_of_a_job():
    """It gets the files as configure wrote them, and the image's environment, whatever lies there.

    A folder or a link in the place of a file is no obstacle.
    """
    script = 'if [ "$1" = remove ]; then [ "$IMAGE" = yes ] || exit 7; fi\n'
    load = "if [ -e .env ]; then . ./.env; fi\n"
    with make_runner_folder(load + script + CONFIGURE) as folder:
        (folder.path / ".env").write_text("IMAGE=yes\n")
        folder.prepare()
        runner = Registration(folder, REQUEST, {"PATH": os.defpath})
        call(runner, "configure")
        run_as_job(
            "rm -f .runner .credentials; mkdir .runner; ln -s /etc/shadow .credentials;"
            " echo 1 >.service; echo IMAGE=no >.env; echo x >.runner_migrated",
            PWD=str(folder.path),
        )
        run_as_job(f"cd {folder.path} && rm -f .runner && mkdir .runner && echo 1 >.service")
        assert (folder.path / ".runner").is_dir()
        call(runner, "remove")
        assert sorted(list_files(folder)) == ["svc.sh"]


@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
@pytest.mark.parametrize("variable", ["PATH", "LD_PRELOAD", "DOTNET_STARTUP_HOOKS"])
def test_root_runs_no_program_of_a_job(variable, mended, monkeypatch):
    """Configure runs `chmod` by PATH: a folder in it that a job can write to is not looked at.

    The same for each variable that makes a program load a file.
    """
    if not mended:
        monkeypatch.setattr(private_call, "select_for_root", dict)
    script = f'echo "{variable}=${variable}"; chmod 600 "$0" 2>/dev/null; exit 5\n'
    with make_runner_folder(script) as folder:
        planted = folder.path.parent / "home" / "bin"
        run_as_job(
            f"mkdir {planted}; echo '#!/bin/sh' >{planted}/chmod;"
            f" echo 'id -u >{planted}/ran' >>{planted}/chmod; chmod 755 {planted}/chmod"
        )
        value = f"{planted}:/usr/bin:/bin" if variable == "PATH" else f"{planted}/code"
        env = {"PATH": os.defpath, variable: value}
        result = asyncio.run(
            run_program(folder, Subcommand("configure", ()), env, ProgramResult(), timeout=30)
        )
        assert result.code == 5
        [line] = [line for line in result.lines if line.startswith(f"{variable}=")]
        assert (str(planted) in line) is not mended
        if variable == "PATH":
            ran = planted / "ran"
            assert (ran.read_text() if ran.exists() else None) == (None if mended else "0\n")
        if variable == "LD_PRELOAD":
            assert not mended or not any("preload" in text for text in result.lines)


def test_proxies_and_harmless_settings_reach_the_call():
    """All that a network needs is passed on, also from the image's `.env`; the home is not."""
    env = {
        "HTTPS_PROXY": "http://proxy:1",
        "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
        "LD_LIBRARY_PATH": "/usr/lib:/home",
        "HOME": "/home/job",
    }
    selected = private_call.select_for_root(env)
    assert selected == env
    lines = b"\xef\xbb\xbfHOME=/x\nLANG=C\nLD_PRELOAD=/x\n"
    assert private_call._select_lines(lines) == b"LANG=C\n"


@pytest.mark.parametrize("planted", [{}, {"TMPDIR": "/srv"}], ids=["unset", "set"])
def test_temporary_files_of_a_call_are_where_no_job_comes(planted):
    """Wherever the TMPDIR of the task leads; and there is no socket for debuggers."""
    script = 'echo "tmp:$TMPDIR"; echo "sockets:$DOTNET_EnableDiagnostics"; exit 5\n'
    with make_runner_folder(script) as folder:
        result = asyncio.run(
            run_program(
                folder,
                Subcommand("configure", ()),
                {"PATH": os.defpath, **planted},
                ProgramResult(),
                timeout=30,
            )
        )
        temporary = Path(result.lines[0].removeprefix("tmp:"))
        assert folder.private in temporary.parents
    assert result.lines[1] == "sockets:0"


def test_an_agent_that_is_not_root_calls_in_the_runner_s_folder():
    """It has no other user to be, so there is nothing private; its home is still a new one."""
    with make_runner_folder(CONFIGURE) as folder:
        folder.user = None
        runner = Registration(folder, REQUEST, {"PATH": os.defpath})
        call(runner, "configure")
        assert not folder.private.exists()
        assert runner.runner_id == 7
        call(runner, "remove")
        assert sorted(list_files(folder)) == ["svc.sh"]


def test_a_folder_that_a_job_put_there_is_not_used():
    """Nothing of it is believed: it is replaced by root's own."""
    with make_runner(CONFIGURE) as (folder, runner):
        run_as_job(
            f"mkdir -m 777 {folder.private} && cd {folder.private} && mkdir bin &&"
            " echo 'exit 3' >bin/Runner.Listener && chmod 755 bin/Runner.Listener && echo x >.env"
        )
        assert folder.private.stat().st_uid == NOBODY.uid
        call(runner, "configure")
        assert folder.private.stat().st_uid == 0
        assert folder.private.stat().st_mode & 0o777 == 0o700
        assert run_as_job(f"ls -A {folder.private} 2>&1 || echo refused").endswith("refused\n")


def test_what_the_program_lost_on_its_way_out_is_kept(monkeypatch):
    """A configure that is killed after it has written its files leaves them to the runner."""
    monkeypatch.setattr(configure, "CONFIGURE_TIMEOUT", 8.0)  # it has to write them before
    hang = CONFIGURE.replace("echo 'Connected", "exec tail -f /dev/null; echo 'Connected")
    with make_runner(hang) as (folder, runner):
        call(runner, "configure")
        assert runner.complete
        assert runner.runner_id == 7
        assert folder.is_configured
