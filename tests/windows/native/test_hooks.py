"""Hooks, run by Windows PowerShell as the runner runs them: `powershell -command ". 'PATH'"`."""

import asyncio
from pathlib import Path

import pytest

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
            path = write_hook(tmp_path, channel, user_hook, variables)
            done = await asyncio.to_thread(powershell.run, f". '{path}'", env)
            await asyncio.wait_for(heard.wait(), PATIENCE)
            return done

    with asyncio.Runner(loop_factory=host.loop_factory()) as runner:
        done = runner.run(play())
    return got, done


def write_hook(folder, channel, user_hook=None, variables=None):
    """Write the hook that is run before a job; returns its path."""
    script = host.build_hook_script("started", channel, user_hook, folder, variables)
    path = folder / f"job-started{host.HOOK_SUFFIX}"
    host.write_new(path, script.encode(), 0o755, None)
    return path


def test_the_agent_hears_of_a_job(tmp_path):
    """One line by the named pipe, and the step succeeds without a word."""
    got, done = run_hook(tmp_path)
    assert got == ["started"]
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("exit 0", 0), ("exit 3", 1), ("throw 'no'", 1)],
    ids=["its last line", "exit 0", "exit 3", "an error"],
)
def test_a_user_s_hook_decides_how_the_hook_ends(tmp_path, end, code):
    """As if the runner ran it itself: any code but 0 is a 1 there.

    Its path has letters that no code page of this machine has.
    """
    folder = tmp_path / "\u0436\u0443\u043a it's \u00fc"
    folder.mkdir()
    hook = folder / "mine.ps1"
    hook.write_text(f"Write-Output 'mine'\n{end}\n")
    got, done = run_hook(tmp_path, user_hook=str(hook))
    assert got == ["started"]
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[:1] == ["mine"]


def test_variables_for_containers_reach_the_runner_s_file(tmp_path):
    """In UTF-8 without a mark before it, which the runner would read as a part of the name."""
    file = tmp_path / "env"
    file.touch()
    variables = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x", "ODD": "a'b"}
    _, done = run_hook(tmp_path, variables=variables, env={"GITHUB_ENV": str(file)})
    assert done.returncode == 0
    assert file.read_bytes() == (
        b"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/x\nODD=a'b\n"
    )


def test_without_an_agent_the_job_goes_on(tmp_path):
    """A pipe that is gone delays a job by about a second, and fails nothing."""
    path = write_hook(tmp_path, Path(r"\\.\pipe\runner-sidecar-nobody"))
    done = powershell.run(f". '{path}'")
    assert (done.returncode, done.stderr) == (0, "")
