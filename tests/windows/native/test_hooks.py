"""Hooks, run by Windows PowerShell as the runner runs them: `powershell -command ". 'PATH'"`."""

import asyncio
from pathlib import Path

from sidecar import host
from tests.windows.native import powershell

PATIENCE = 60.0


def run_hook(tmp_path, *, user_hook=None, variables=None, env=None):
    """Write a hook and run it; returns what the agent got, and how PowerShell ended."""
    got = []

    async def play():
        heard = asyncio.Event()

        def take(line):
            got.append(line)
            heard.set()

        async with host.open_hook_channel(tmp_path, None, take) as channel:
            content = host.build_hook_script("started", channel, user_hook, tmp_path, variables)
            path = tmp_path / f"started{host.HOOK_SUFFIX}"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            done = await asyncio.to_thread(powershell.run, f". '{path}'", env)
            await asyncio.wait_for(heard.wait(), PATIENCE)
            return done

    with asyncio.Runner(loop_factory=host.loop_factory()) as runner:
        done = runner.run(play())
    return got, done


def test_the_agent_hears_of_a_job(tmp_path):
    """One line by the named pipe, and the step succeeds without a word."""
    got, done = run_hook(tmp_path)
    assert got == ["started"]
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_user_s_hook_runs_with_its_own_end(tmp_path):
    """Also one whose path has letters that no code page of this machine has."""
    folder = tmp_path / "жук ü"
    folder.mkdir()
    hook = folder / "mine.ps1"
    hook.write_text("Write-Output 'mine'; exit 3")
    got, done = run_hook(tmp_path, user_hook=str(hook))
    assert got == ["started"]
    assert (done.returncode, done.stdout.strip()) == (3, "mine")


def test_variables_for_containers_reach_the_runner_s_file(tmp_path):
    """In UTF-8 without a mark before it, which the runner would read as a part of the name."""
    file = tmp_path / "env"
    file.touch()
    variables = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x"}
    _, done = run_hook(tmp_path, variables=variables, env={"GITHUB_ENV": str(file)})
    assert done.returncode == 0
    assert file.read_bytes().replace(b"\r\n", b"\n") == (
        b"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/x\n"
    )


def test_without_an_agent_the_job_goes_on(tmp_path):
    """A pipe that is gone delays a job by about a second, and fails nothing."""
    channel = Path(r"\\.\pipe\runner-sidecar-nobody")
    content = host.build_hook_script("completed", channel, None, tmp_path)
    path = tmp_path / f"completed{host.HOOK_SUFFIX}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = powershell.run(f". '{path}'")
    assert (done.returncode, done.stderr) == (0, "")
