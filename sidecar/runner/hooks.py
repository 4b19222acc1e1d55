"""Job hooks: how the agent learns that a job starts and ends, without trusting any output.

The runner runs them itself, as the first and the last step of the job
(ACTIONS_RUNNER_HOOK_JOB_STARTED and _COMPLETED). They fail open and chain the user's own.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from sidecar import host
from sidecar.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from sidecar.runner.folder import RunnerFolder

VARIABLES = {
    "started": "ACTIONS_RUNNER_HOOK_JOB_STARTED",
    "completed": "ACTIONS_RUNNER_HOOK_JOB_COMPLETED",
}


@asynccontextmanager
async def hooked(
    root: RunnerFolder,
    passed_on: Mapping[str, str],
    hear: Callable[[str], None],
    told: Mapping[str, str] | None = None,
) -> AsyncIterator[dict[str, str]]:
    """Install both hooks; yield the variables that make the runner use them.

    `hear` gets "started" and "completed". A job can say these words too, so that they tell
    when to look, never what to believe. The first hook hands what is `told` to the job's
    containers. Raises RunnerError.
    """
    async with AsyncExitStack() as installing:
        try:
            installed = await _installed(root, passed_on, hear, told, installing)
        except OSError as error:
            raise RunnerError(
                f"cannot install the job hooks in {root.state}: {error.strerror or error} "
                "(SIDECAR_RUNNER_DIR must be writable)"
            ) from error
        yield installed


async def _installed(
    root: RunnerFolder,
    passed_on: Mapping[str, str],
    hear: Callable[[str], None],
    told: Mapping[str, str] | None,
    undo: AsyncExitStack,
) -> dict[str, str]:
    own = root.environment_file()
    channel = await undo.enter_async_context(host.hook_channel(root.state, root.user, hear))
    installed = {}
    for word, variable in VARIABLES.items():
        chained = own.get(variable) or passed_on.get(variable)
        more = told if word == "started" else None
        script = host.hook_script(word, channel, chained, root.path, more)
        path = root.state / f"job-{word}{host.HOOK_SUFFIX}"
        host.write_new(path, script.encode(), 0o755, None)
        installed[variable] = str(path)
    undo.enter_context(root.environment_without(VARIABLES.values()))
    return installed
