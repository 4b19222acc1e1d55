"""The work folder: made for the runner's user, removed if it is one life's alone."""

import pytest

from sidecar.errors import RunnerError
from sidecar.runner.workspace import make_workspace
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.loops import run


@pytest.mark.parametrize("remove_after", [True, False])
def test_an_absolute_folder_is_made_and_removed_if_asked(tmp_path, remove_after):
    """The removal is registered on leaving, when no job works there any more."""
    folder = tmp_path / "deep" / "work"
    cleanup_stack = CleanupStack()

    async def play():
        workspace = make_workspace(
            tmp_path, str(folder), None, cleanup_stack, remove_after=remove_after
        )
        async with workspace:
            (folder / "file").touch()
            assert not cleanup_stack.steps
        for step in cleanup_stack.steps:
            await step.begin()

    run("asyncio", play())
    assert folder.exists() is not remove_after


def test_a_relative_folder_is_the_runner_s_business(tmp_path):
    """The runner makes it itself, below its own folder."""

    async def play():
        async with make_workspace(tmp_path, "_work", None, CleanupStack(), remove_after=False):
            assert not (tmp_path / "_work").exists()

    run("asyncio", play())


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    """The error names the setting."""
    (tmp_path / "file").touch()

    async def play():
        path = str(tmp_path / "file" / "work")
        async with make_workspace(tmp_path, path, None, CleanupStack(), remove_after=False):
            pass

    with pytest.raises(RunnerError, match=r"cannot make the work folder .*SIDECAR_WORK_DIR"):
        run("asyncio", play())
