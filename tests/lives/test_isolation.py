"""Check that a job can neither see the agent's secrets, nor replace its files, nor mislead it."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from local.github import apps
from tests.lives.stage import (
    AS_PID_1,
    IS_ROOT,
    ON_UVLOOP,
    OTHER_USER,
    list_processes,
    open_stage,
    read_file,
    read_output,
    run_side_by_side,
)
from tests.support.servers import serving

CANARY = "canary-of-a-setting-7d1f"


def read_runner_processes(stage):
    """Return argv and environment of every process of the runner, found by its folder or mark."""
    found = []
    for pid in list_processes():
        argv, environ = read_file(f"/proc/{pid}/cmdline"), read_file(f"/proc/{pid}/environ")
        runs = any(sign in argv + environ for sign in (b"bin/Runner.", b"RUNNER_TRACKING_ID"))
        if runs and stage.mark.encode() in environ:
            found.append((argv, environ))
    return found


def read_command_lines():
    """Return every command line of this machine."""
    return b"\n".join(read_file(f"/proc/{pid}/cmdline") for pid in list_processes())


SEARCH = """\
needles={needles}
grep -rlaF -f $needles {root} 2>/dev/null | sed 's/^/FOUND /'
for p in /proc/[0-9]*; do
    for f in environ cmdline; do
        cat $p/$f 2>/dev/null | grep -qaF -f $needles && echo "FOUND $p/$f"
    done
done
cat /proc/[0-9]*/environ 2>/dev/null | grep -qaF {mark} && echo "would be found"
env | grep ^SIDECAR_ | sed 's/^/FOUND /'
echo searched
"""


@pytest.mark.root
def test_no_job_can_find_the_token(aws):
    """Token and settings are in no log, argv, environment or file that the job's user can read."""

    async def play(wrap):
        async with open_stage(aws) as stage:
            token = await stage.put()
            needles = stage.folder.parent / f"needles-{stage.mark}"  # outside of what is searched
            needles.write_text(f"{token}\n{CANARY}\n")
            needles.chmod(0o644)
            try:
                step, open_gate = stage.make_gate()
                search = SEARCH.format(needles=needles, root=stage.folder, mark=stage.mark)
                job = stage.job(search, step)
                stage.world.faults.add({"call": "runner-add", "delay": 0.5})
                env = {"SIDECAR_CANARY": CANARY}
                async with stage.life((*wrap, *ON_UVLOOP), env=env) as life:
                    await stage.wait_for(lambda: stage.world.calls["runner-add"], "configure")
                    assert token.encode() not in read_command_lines(), "while configuring"
                    await stage.wait_for_output(job, "at the gate")
                    seen = read_runner_processes(stage)
                    assert len(seen) >= 3, "listener, worker, step"
                    assert token.encode() not in read_command_lines()
                    for argv, environ in seen:
                        assert token.encode() not in argv + environ
                        assert CANARY.encode() not in argv + environ
                        assert b"SIDECAR_" not in environ.replace(b"RUNNER_SIDECAR_", b"")
                    open_gate()
                    await stage.check_end(life, 0)
            finally:
                needles.unlink()
            assert "would be found\nsearched" in read_output(job)
            assert "FOUND" not in read_output(job), read_output(job)
            assert CANARY not in life.text
            assert CANARY not in life.errors

    run_side_by_side(play(()), play(AS_PID_1))


MINTING = ("registration", "remove", "pat", "installation")
"""The kinds of token that register or remove runners; the runner itself has the others."""


@pytest.mark.root
@pytest.mark.parametrize("just_in_time", [False, True])
@pytest.mark.parametrize("source", ["pat", "pat-file", "app"])
def test_no_job_can_find_a_credential(aws, source, just_in_time):
    """A running job finds neither the App's key, nor the PAT, nor a token made from them."""

    async def play():
        async with open_stage(aws) as stage:
            env, secrets = make_credential(stage, source)
            needles = stage.folder.parent / f"needles-{stage.mark}"
            step, open_gate = stage.make_gate()
            search = SEARCH.format(needles=needles, root=stage.folder, mark=stage.mark)
            job = stage.job(step, search)
            env |= {"SIDECAR_TOKEN_PARAMETER": None, "SIDECAR_JUST_IN_TIME": str(just_in_time)}
            async with stage.life(env=env) as life:
                await stage.wait_for_output(job, "at the gate")
                secrets += [it.value for it in stage.world.tokens if it.kind in MINTING]
                assert len(secrets) > 1
                needles.write_text("\n".join(secrets))
                needles.chmod(0o644)
                try:
                    open_gate()
                    await stage.check_end(life, 0)
                finally:
                    needles.unlink()
            assert "would be found\nsearched" in read_output(job)
            assert "FOUND" not in read_output(job), read_output(job)
            for secret in secrets:
                assert secret not in life.text
                assert secret.encode() not in read_command_lines()

    run_side_by_side(play())


def make_credential(stage, source):
    """Return the settings of a credential, and the secrets in it."""
    if source == "app":
        private, *numbers = apps.fresh_key()
        known = stage.world.apps.add("runners", *numbers)
        stage.world.apps.install(known, "octo")
        lines = private.splitlines()[1:-1]
        return {"SIDECAR_GITHUB_APP_ID": str(known.id), "SIDECAR_GITHUB_APP_KEY": private}, lines
    if source == "pat":
        return {"SIDECAR_GITHUB_PAT": "ghp_local"}, ["ghp_local"]
    path = stage.folder / "pat"
    path.write_text("ghp_local\n")
    path.chmod(0o600)
    return {"SIDECAR_GITHUB_PAT": f"file:{path}"}, ["ghp_local"]


LOOK = """\
for f in environ mem maps fd cwd; do
    (cat /proc/{pid}/$f || ls /proc/{pid}/$f/) >/dev/null 2>&1 && echo "READ $f"
done
kill -STOP {pid} 2>/dev/null && {{ kill -CONT {pid}; echo "SIGNALLED"; }}
echo looked
"""


@pytest.mark.root
def test_no_job_can_read_or_signal_the_agent(aws):
    """The job's user can neither read the agent's environment and memory, nor send it signals."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                job = stage.job(LOOK.format(pid=life.pid))
                await stage.check_end(life, 0)
            assert "looked" in read_output(job)
            assert "READ" not in read_output(job)
            assert "SIGNALLED" not in read_output(job)

    run_side_by_side(play())


def find_unprivileged_start():
    """Return the command that starts a program without privileges; None if it cannot run so."""
    if not IS_ROOT:
        return ()
    entry = pwd.getpwnam(OTHER_USER)
    start = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")
    tried = subprocess.run(
        [*start, ON_UVLOOP[0], "-c", "import sidecar.cli.run"], capture_output=True, check=False
    )
    if tried.returncode == 0:
        return start
    # Other users cannot read the checkout: root without any capability serves as well.
    return ("setpriv", "--securebits=+noroot", "--bounding-set=-all", "--inh-caps=-all")


def give_folder_to(root, start):
    """Make the user that `start` changes to the owner of the runner's folder."""
    if len(start) and start[1].startswith("--reuid"):
        for folder, names, files in os.walk(root):
            for name in (".", *names, *files):
                shutil.chown(os.path.join(folder, name), OTHER_USER)  # noqa: PTH118


def test_a_job_of_the_same_user_cannot_read_the_agent(aws):
    """An agent that is not root shares its user with jobs: they cannot read its memory either."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            start = find_unprivileged_start()
            give_folder_to(stage.runner_folder, start)
            same = "root" if len(start) and not start[1].startswith("--reuid") else None
            env = {"SIDECAR_RUNNER_USER": same, "SIDECAR_CANARY": CANARY}
            if start:  # the other user cannot write the coverage file
                env |= {key: None for key in os.environ if key.startswith("COVERAGE")}
            async with stage.life((*start, *ON_UVLOOP), env=env) as life:
                await life.wait_for_phase("idle")
                pid = life.pid
                look = f"for f in environ mem; do head -c 1 /proc/{pid}/$f && echo READ; done 2>&1"
                job = stage.job(f"{look}; echo looked")
                await stage.check_end(life, 0)
            assert "looked" in read_output(job)
            assert "READ" not in read_output(job)
            assert read_output(job).count("ermission denied") == 2, read_output(job)

    run_side_by_side(play())


REPLACE = """\
cd {root}
say() {{ echo "REPLACED $1"; }}
mv bin bin.old 2>/dev/null && say "bin by rename"
rm -rf bin 2>/dev/null && say "bin by removal"
echo x 2>/dev/null >bin/Runner.Listener && say "listener by writing"
rm -f bin/Runner.Listener 2>/dev/null && say "listener by removal"
touch bin/new 2>/dev/null && say "bin by addition"
chmod 777 bin 2>/dev/null && say "bin's mode"
echo x 2>/dev/null >.sidecar/job-completed.sh && say "the hook"
rm -rf .sidecar 2>/dev/null && say "the hooks' folder"
mv .sidecar old 2>/dev/null && say "the hooks' folder by rename"
mv {root} {root}.old 2>/dev/null && say "the root by rename"
touch of-my-own && rm of-my-own && echo tried
"""


@pytest.mark.root
def test_no_job_can_replace_the_runner_s_program(aws):
    """A job can neither rename, remove nor write `bin/` and the hooks; the rest belongs to it."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job(REPLACE.format(root=stage.runner_folder))
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert "tried" in read_output(job)
            assert "REPLACED" not in read_output(job), read_output(job)
            assert (stage.runner_folder / "bin" / "Runner.Listener").stat().st_uid == 0

    run_side_by_side(play())


def run_as_the_job_s_user(script):
    """Run a shell script as the job's user."""
    entry = pwd.getpwnam(OTHER_USER)
    return subprocess.run(
        ["sh", "-ec", script], user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], check=True
    )


@pytest.mark.root
def test_planted_files_do_not_mislead_the_removal(aws):
    """`remove` ignores what a job's user wrote to `.runner`, `.env` or through links."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            outside = stage.folder / "outside"
            outside.write_text("untouched")
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                (own,) = stage.world.runners
                settings = json.loads((stage.runner_folder / ".runner").read_text("utf-8-sig"))
                settings |= {"agentId": 9999, "agentName": "victim", "gitHubUrl": "http://x/o/r"}
                planted = stage.folder / "planted"
                planted.write_text(json.dumps(settings))
                await asyncio.to_thread(
                    run_as_the_job_s_user,
                    f"cd {stage.runner_folder}; rm -f .runner .credentials_rsaparams;"
                    f"cp {planted} .runner;"
                    f"ln -s {outside} .credentials_rsaparams; ln -sf {outside} .path;"
                    "echo ACTIONS_RUNNER_INPUT_TOKEN=forged >.env;"
                    "ln -s /etc/passwd .credentials_migrated",
                )
                life.signal()
                await stage.check_end(life, 0)
            removed = [(gone.id, gone.by) for gone in stage.world.runners.removed]
            assert removed == [(own.id, "remove")]
            assert outside.read_text() == "untouched"

    async def play_links_before():
        async with open_stage(aws) as stage:
            await stage.put()
            outside = stage.folder / "outside"
            outside.write_text("untouched")
            (stage.runner_folder / ".setup_info").symlink_to(outside)
            (stage.runner_folder / ".sidecar").symlink_to(stage.folder)
            stage.job("true")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert outside.read_text() == "untouched"
            assert not (stage.folder / "hook").exists()

    run_side_by_side(play(), play_links_before())


BELIEVING = """\
{first_line}
# Believes what the runner's own program believes: `.env`, which wins over the environment, the
# cache of addresses and the store of certificates. It sends its token to an address in them.
import os, socket, sys
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
def lines(*path):
    try:
        with open(os.path.join(*path)) as file:
            return file.read().splitlines()
    except OSError:
        return []
for line in lines(root, ".env"):
    name, _, value = line.partition("=")
    os.environ[name] = value
home = os.environ["HOME"]
config = os.environ.get("XDG_CONFIG_HOME") or home + "/.config"
found = {{
    "cache": lines(config, "GitHub/ActionsService/8.0/Cache/address"),
    "store": lines(home, ".dotnet/corefx/cryptography/x509stores/root/address"),
    "env": os.environ.get("PLANTED", "").split(),
}}
verb = sys.argv[1]
private = os.path.basename(root) == ".sidecar-private"  # where root calls configure and remove
with open((os.path.dirname(root) if private else root) + "/called", "a") as file:
    file.write(verb + "\\n")
if verb == "run":
    with open(root + "/listener-pid", "w") as file:
        file.write(str(os.getpid()))
for name, ports in found.items():
    for port in ports:
        with socket.create_connection(("127.0.0.1", int(port))) as connection:
            token = os.environ.get("ACTIONS_RUNNER_INPUT_TOKEN", "the listener's own")
            connection.sendall(f"{{verb}} {{name}} {{token}}\\n".encode())
            connection.recv(1)
real = root + "/bin/Runner.Listener.real"
os.execv(real, [real, *sys.argv[1:]])
"""

PLANT = """\
for folder in .config/GitHub/ActionsService/8.0/Cache .dotnet/corefx/cryptography/x509stores/root
do
    mkdir -p {home}/$folder
    echo {port} >{home}/$folder/address
done
rm -f {root}/.env
echo PLANTED={port} >{root}/.env
"""

WITH_A_HOME = """\
import dataclasses, sys
from sidecar import host
find_user = host.find_user
host.find_user = lambda name: dataclasses.replace(find_user(name), home={home!r})
if {unmended}:
    from sidecar.runner import folder, homes
    homes.use_home = lambda env, variables: dict(env)
    homes.clean_home = lambda *_: None
    folder.RunnerFolder._remove_environment_of_jobs = lambda self: []
from sidecar.__main__ import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


def make_believing(folder):
    """Put the program that believes what it finds before the runner's own; return the verbs."""
    program = folder / "bin" / "Runner.Listener"
    first_line = program.read_text().splitlines()[0]  # an interpreter that the user may run
    program.rename(program.with_name("Runner.Listener.real"))
    program.write_text(BELIEVING.format(first_line=first_line))
    program.chmod(0o755)
    (folder / "called").touch()
    (folder / "called").chmod(0o666)  # root writes there too
    return lambda: (folder / "called").read_text().split()


@asynccontextmanager
async def open_planted_server():
    """Open the server of a job that wants tokens; yield its port and what it was sent."""
    sent = []

    async def answer(reader, writer):
        sent.append((await reader.readline()).decode().split())
        writer.close()

    async with serving(answer) as server:
        yield server.sockets[0].getsockname()[1], sent


@pytest.mark.root
@pytest.mark.parametrize("mended", [False, True])
def test_a_job_s_files_mislead_neither_the_removal_nor_the_next_life(aws, mended):
    """The runner believes a cache in its home, certificates there, and `.env`.

    A job plants its own server's address in each and ends its listener; a second life follows on
    the same disk. No call of the program finds any of them. Unmended, all calls do.
    """

    async def play():
        async with open_stage(aws) as stage, open_planted_server() as (port, sent):
            root, home = stage.runner_folder, stage.folder / "home"
            home.mkdir()
            shutil.chown(home, OTHER_USER)
            verbs = make_believing(root)
            start = WITH_A_HOME.format(home=str(home), unmended=not mended)
            argv = (sys.executable, "-c", start)
            plant = PLANT.format(home=home, root=root, port=port)
            stage.job(
                plant + f"echo >{home}/planted; kill -INT $(cat {root}/listener-pid); exec sleep 9"
            )
            await stage.put()
            async with stage.life(argv) as life:
                await life.wait_for_end()
            assert (home / "planted").exists()
            before = verbs()
            assert before[:2] == ["configure", "run"]
            after_the_job = [line[:2] for line in sent]
            if mended:
                assert after_the_job == []
            elif "remove" in before:
                assert ["remove", "cache"] in after_the_job

            sent.clear()
            await asyncio.to_thread(run_as_the_job_s_user, plant)  # as a job of a killed agent
            await stage.put()
            async with stage.life(argv) as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, 0)
            called = verbs()[len(before) :]
            assert called[:2] == ["configure", "run"]
            believed = [[verb, name] for verb in called[:2] for name in ("cache", "store", "env")]
            if mended:
                assert sent == []
                (removed,) = life.find_events("runner.configuration_removed")
                assert ".env" in removed["stale"]
            else:
                assert [line[:2] for line in sent][: len(believed)] == believed
                assert sent[0][2] == stage.token

    run_side_by_side(play())
