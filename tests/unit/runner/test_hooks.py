"""The job hooks as they are installed, run by a shell as the runner runs them."""

import asyncio
import os
import subprocess

import pytest

from sidecar.runner.hooks import VARIABLES, hooked
from tests.support.loops import on_both, run


async def ran(path, **env):
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
def test_both_hooks_tell_the_agent_and_chain_the_user_s_own(loop, root, tmp_path, where):
    """Wherever the user's hook was named; the listener's own file wins, as it does there."""
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
        heard = []
        came = asyncio.Event()

        def hear(word):
            heard.append(word)
            came.set()

        async with hooked(root, passed_on, hear) as installed:
            assert set(installed) == set(VARIABLES.values())
            assert started not in root.environment_file()
            expected = (0, "") if where == "nowhere" else (5, "own\n")
            assert await ran(installed[started]) == expected
            await came.wait()
            came.clear()
            assert await ran(installed[VARIABLES["completed"]]) == (0, "")
            await came.wait()
            assert heard == ["started", "completed"]
        # The agent is gone, the job goes on.
        assert (await ran(installed[VARIABLES["completed"]]))[0] == 0

    run(loop, life())
    if where in ("file", "both"):
        assert root.environment_file() == {"LANG": "C", started: str(own)}


@on_both
def test_the_first_hook_tells_containers_and_the_last_does_not(loop, root, tmp_path):
    """What is told is a job's from its beginning."""
    file = tmp_path / "github_env"

    async def life():
        async with hooked(root, {}, [].append, {"A": "1"}) as installed:
            for word, content in (("completed", ""), ("started", "A=1\n")):
                file.write_text("")
                assert await ran(installed[VARIABLES[word]], GITHUB_ENV=str(file)) == (0, "")
                assert file.read_text() == content

    run(loop, life())
