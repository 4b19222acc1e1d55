"""The installed job hooks, run by a shell as the runner runs them."""

import asyncio
import os
import subprocess

import pytest

from sidecar.runner.hooks import VARIABLES, install_hooks
from tests.support.loops import on_both, run


async def run_hook(path, **env):
    """Run one hook; gives exit code and output."""
    child = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-e", path],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return child.returncode, child.stdout


@on_both
@pytest.mark.parametrize("where", ["environment", "file", "both", "nowhere"])
def test_both_hooks_report_to_the_agent_and_run_the_user_s_own(loop, root, tmp_path, where):
    """Wherever the user set the hook; the listener's own file wins, as it does for the listener."""
    own, other = tmp_path / "own.sh", tmp_path / "other.sh"
    own.write_text("echo own; exit 5\n")
    other.write_text("echo other\n")
    started = VARIABLES["started"]
    passed_on = {}
    if where in ("environment", "both"):
        passed_on[started] = str(other if where == "both" else own)
    if where in ("file", "both"):
        (root.path / ".env").write_text(f"LANG=C\n{started}={own}\n")

    async def life():
        events = []
        came = asyncio.Event()

        def on_event(event):
            events.append(event)
            came.set()

        async with install_hooks(root, passed_on, on_event) as installed:
            assert set(installed) == set(VARIABLES.values())
            assert started not in root.read_environment_file()
            expected = (0, "") if where == "nowhere" else (5, "own\n")
            assert await run_hook(installed[started]) == expected
            await came.wait()
            came.clear()
            assert await run_hook(installed[VARIABLES["completed"]]) == (0, "")
            await came.wait()
            assert events == ["started", "completed"]
        # The agent has ended, the job goes on.
        assert (await run_hook(installed[VARIABLES["completed"]]))[0] == 0

    run(loop, life())
    if where in ("file", "both"):
        assert root.read_environment_file() == {"LANG": "C", started: str(own)}


@on_both
def test_only_the_first_hook_gives_variables_to_containers(loop, root, tmp_path):
    """A job has them from its beginning."""
    file = tmp_path / "github_env"

    async def life():
        async with install_hooks(root, {}, [].append, {"A": "1"}) as installed:
            for event, content in (("completed", ""), ("started", "A=1\n")):
                file.write_text("")
                assert await run_hook(installed[VARIABLES[event]], GITHUB_ENV=str(file)) == (0, "")
                assert file.read_text() == content

    run(loop, life())
