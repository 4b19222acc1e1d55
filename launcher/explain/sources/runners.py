"""Tell what GitHub says of the launch's runner, and of the runner groups of its repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.explain.entries import Entry, Mark, Source
from launcher.explain.sources.jobs import ask
from sidecar.github.answers import read_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.explain.case import Case
    from sidecar import github
    from sidecar.github.api import Api

DEFAULT = "default"


async def read_runner(connection: github.Connection, name: str) -> github.Runner | None:
    """Find a runner by its name. Raises GitHubError."""
    return await (await connection.runners()).find(name)


async def read_visible_groups(api: Api, organization: str, repository: str) -> list[str]:
    """List the runner groups that a repository of an organization may use. Raises GitHubError."""
    name = repository.partition("/")[2]
    path = f"/orgs/{organization}/actions/runner-groups?per_page=100&visible_to_repository={name}"
    listed = read_field((await ask(api, path)).body, "runner_groups", list)
    return [str(read_field(group, "name")) for group in listed]


def tell(case: Case) -> Iterator[Entry]:
    """Yield how the runner is now."""
    yield from _tell_group(case)
    name = case.runner_name
    if name is None:
        return
    runner = case.runner
    if runner is None:
        ended = case.launch is not None and (case.launch.served or case.launch.ended)
        why = "it has ended, and was removed" if ended else "it never registered, or was removed"
        yield Entry(Source.GITHUB, f"there is no runner {name}: {why}", case.now)
        return
    state = "busy" if runner.busy else "idle"
    if runner.online:
        yield Entry(Source.GITHUB, f"the runner {name} is online and {state}", case.now, Mark.DONE)
        return
    if _has_run(case):
        text = f"the runner {name} is registered and offline"
        advice = "its agent is gone, or cannot reach GitHub: look at its last events"
        yield Entry(Source.GITHUB, text, case.now, Mark.FAILED, advice)
        return
    text = f"the runner {name} is registered, and not online yet"
    yield Entry(Source.GITHUB, text, case.now, Mark.WAITS)


def _has_run(case: Case) -> bool:
    """Whether the runner was online before, or its agent has begun to listen."""
    listened = any(event.name == "runner.started" for home in case.homes for event in home.events)
    return listened or (case.launch is not None and case.launch.online)


def _tell_group(case: Case) -> Iterator[Entry]:
    groups = case.visible_groups
    if groups is None or (case.job is not None and case.job.began):
        return
    wanted = case.group
    if wanted is not None and wanted.isdecimal():
        return
    known = [group.lower() for group in groups]
    if (wanted or DEFAULT).lower() in known or (wanted is None and not known):
        return
    text = f"the runner group {wanted or 'Default'} is not visible to {case.repository}"
    advice = "let the repository use the group (Settings, Actions, Runner groups)"
    yield Entry(Source.GITHUB, text, None, Mark.FAILED, advice, after=case.began)
