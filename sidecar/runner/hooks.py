"""Install the job hooks, which report a job's start and end without trusting any output.

The runner runs them itself, as the first and the last step of the job
(ACTIONS_RUNNER_HOOK_JOB_STARTED and _COMPLETED). A hook that cannot reach the agent does not fail
the job, unless a policy came with the token, or a role is required: then the first hook asks
whether the job may run, and ends it without a yes. Each runs the user's own hook afterwards.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from sidecar import host
from sidecar.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from sidecar.runner.admission import Admission
    from sidecar.runner.folder import RunnerFolder


class Summary(Protocol):
    """Writes what the job's summary says."""

    @property
    def path(self) -> Path:
        """Where it is written."""

    async def write(self, variables: Mapping[str, str] | None) -> str:
        """Write it; return the answer for the hook."""
        ...


VARIABLES = {
    "started": "ACTIONS_RUNNER_HOOK_JOB_STARTED",
    "completed": "ACTIONS_RUNNER_HOOK_JOB_COMPLETED",
}


@asynccontextmanager
async def install_hooks(
    folder: RunnerFolder,
    passed_on: Mapping[str, str],
    on_event: Callable[[str], None],
    job_variables: Mapping[str, str] | None = None,
    admission: Admission | None = None,
    summary: Summary | None = None,
) -> AsyncIterator[dict[str, str]]:
    """Install both hooks; yield the variables that make the runner use them.

    `on_event` gets "started" and "completed". A job can send these too: they say when to look,
    never what to believe. The first hook gives `job_variables` to the job's containers, and asks
    `admission` whether the job may run; with None every job may. The last hook adds `summary` to
    the run's own. Raises RunnerError.
    """
    async with AsyncExitStack() as cleanup:
        try:
            asking = await _open_channels(folder, admission, summary, cleanup)
            variables = await _install(folder, passed_on, on_event, job_variables, asking, cleanup)
        except OSError as error:
            raise RunnerError(
                f"cannot install the job hooks in {folder.state}: {error.strerror or error} "
                "(SIDECAR_RUNNER_DIR must be writable)"
            ) from error
        yield variables


async def _open_channels(
    folder: RunnerFolder,
    admission: Admission | None,
    summary: Summary | None,
    cleanup: AsyncExitStack,
) -> dict[str, str]:
    """Open the channels on which hooks ask; return the lines that ask, by event."""
    asking = dict.fromkeys(VARIABLES, "")
    if admission is not None:
        opening = host.open_admission_channel(folder.state, folder.user, admission.decide)
        channel = await cleanup.enter_async_context(opening)
        asking["started"] = host.build_admission_script(
            channel, admission.names, needs_answer=admission.needs_answer
        )
    if summary is not None:
        opening = host.open_admission_channel(folder.state, folder.user, summary.write, "summary-")
        channel = await cleanup.enter_async_context(opening)
        asking["completed"] = host.build_summary_script(channel, summary.path)
    return asking


async def _install(
    folder: RunnerFolder,
    passed_on: Mapping[str, str],
    on_event: Callable[[str], None],
    job_variables: Mapping[str, str] | None,
    asking: dict[str, str],
    cleanup: AsyncExitStack,
) -> dict[str, str]:
    own = folder.read_environment_file()
    opening = host.open_hook_channel(folder.state, folder.user, on_event)
    channel = await cleanup.enter_async_context(opening)
    variables = {}
    if folder.user is not None:
        # The listener has a key that no job may read; what debugs a job's own program still works.
        given = own.get(host.DIAGNOSTICS) or passed_on.get(host.DIAGNOSTICS) or "1"
        asking["started"] += host.build_variable_script(host.DIAGNOSTICS, given)
        variables[host.DIAGNOSTICS] = "0"
    for event, variable in VARIABLES.items():
        user_hook = own.get(variable) or passed_on.get(variable)
        started = event == "started"
        script = host.build_hook_script(
            event,
            channel,
            user_hook,
            folder.path,
            job_variables if started else None,
            asking[event],
        )
        path = folder.state / f"job-{event}{host.HOOK_SUFFIX}"
        host.write_new(path, script.encode(), 0o755, None)
        variables[variable] = str(path)
    cleanup.enter_context(folder.without_variables((*VARIABLES.values(), *variables)))
    return variables
