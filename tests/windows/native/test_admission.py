"""The hook that asks whether a job may run, played by Windows PowerShell."""

import asyncio
import subprocess
import sys

import pytest

from sidecar import host
from tests.windows.native import powershell

PATIENCE = 120.0
NAMES = ("GITHUB_REPOSITORY", "GITHUB_REF", "NOT_SET")
WORKER = """\
import subprocess, sys
hook = subprocess.run(["powershell", "-NoProfile", "-command", f". '{sys.argv[1]}'"])
print("hook:", hook.returncode, flush=True)
"""


def run_worker(hook):
    """Run a hook's worker to its end; return its exit code and output, the first line apart."""
    argv = [sys.executable, "-c", WORKER, str(hook)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as worker:
        first = worker.stdout.readline()
        return worker.wait(PATIENCE), first, worker.stdout.read()


@pytest.mark.parametrize("answer", [host.ADMITTED, "a stranger"])
def test_powershell_asks_and_obeys(tmp_path, answer):
    """Refused it says why and waits to be ended, as the runner's worker then does."""
    asked = []
    variables = {"GITHUB_REPOSITORY": "o/r", "GITHUB_REF": "a'b\u00e9"}

    async def decide(given):
        asked.append(given)
        return answer

    async def play():
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            hook = tmp_path / f"job-started{host.HOOK_SUFFIX}"
            script = host.build_admission_script(channel, NAMES) + "Write-Output 'going on'\n"
            host.write_new(hook, script.encode(), 0o755, None)
            if answer == host.ADMITTED:
                done = await asyncio.to_thread(powershell.run, f". '{hook}'", variables)
                assert (done.returncode, done.stdout.split()) == (0, ["going", "on"])
                assert asked == [{**variables, "NOT_SET": ""}]
            else:
                code, first, rest = await asyncio.to_thread(run_worker, hook)
                assert first.split(b"::")[-1].strip() == b"a stranger"
                assert code != 0, "the hook did not kill it"
                assert b"hook:" not in rest

    with asyncio.Runner(loop_factory=host.loop_factory()) as runner:
        runner.run(play())
