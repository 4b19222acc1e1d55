"""The stage: the stand-ins that surround one agent, in this process, and the agent's folder.

The demo, `compose.yaml` and the tests' lives all use it. The bench starts the stand-ins as programs
of their own (`local.programs`), so that they cost the measuring process nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from local import agent, aws, ecs_agent, faults, github, ssm
from local.github.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from ssl import SSLContext

    from local.github.jobs import Job
    from local.github.world import World

PARAMETER = "/demo/registration-token"
REPOSITORY = "octo/demo"
PAT = "ghp_local"
"""A personal access token that may do everything at this GitHub."""
Address = tuple[str, int]
ANY_PORT: Address = ("127.0.0.1", 0)


@dataclass(frozen=True)
class Addresses:
    """The addresses of the stand-ins: host and port of each."""

    aws: Address = ANY_PORT
    ecs_agent: Address = ANY_PORT
    github: Address = ANY_PORT


@dataclass(frozen=True)
class StandIns:
    """The stand-ins that run."""

    moto: str
    """The URL of SSM and STS themselves, for those who look from outside."""
    ssm: faults.Proxy
    """The proxy through which the agent reaches them; it can make calls fail."""
    ecs: ecs_agent.Agent
    github: github.GitHub


@asynccontextmanager
async def start_stand_ins(
    moto: str = "",
    *,
    at: Addresses | None = None,
    task: ecs_agent.Task | None = None,
    use_sts: bool = False,
    tls: SSLContext | None = None,
) -> AsyncIterator[StandIns]:
    """Start the stand-ins for AWS, the ECS agent and GitHub; they end with the block.

    `moto` is the URL of an SSM and STS that runs already. With `use_sts` the ECS agent hands out
    credentials that this STS knows, which takes half a second. With `tls` GitHub speaks HTTPS.
    """
    at = at or Addresses()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        endpoint = moto or stack.enter_context(aws.serving())
        role = endpoint if use_sts else None
        yield StandIns(
            endpoint,
            await enter(faults.serving(endpoint, *at.aws)),
            await enter(ecs_agent.serving(*at.ecs_agent, task=task, aws_endpoint=role)),
            await enter(github.serving(*at.github, pats=[PAT], tls=tls)),
        )


class Stage:
    """The stand-ins and the folders of one agent, which registers with `repository`."""

    def __init__(
        self,
        stand_ins: StandIns,
        folder: Path,
        runner_folder: Path,
        repository: str = REPOSITORY,
        parameter: str = PARAMETER,
    ) -> None:
        self.moto, self.ssm = stand_ins.moto, stand_ins.ssm
        self.ecs, self.github = stand_ins.ecs, stand_ins.github
        self.folder = folder
        """A folder that every user may read and write."""
        self.runner_folder = runner_folder
        """The folder of the runner's program."""
        self.repository = repository
        self.parameter = parameter
        """The name of the token's parameter."""

    @property
    def world(self) -> World:
        """GitHub's state."""
        return self.github.world

    @property
    def github_url(self) -> str:
        """The URL that the runner registers with."""
        return f"{self.github.url}/{self.repository}"

    def mint_token(self, expires_in: float | None = None) -> str:
        """Have GitHub issue a registration token; `expires_in` seconds, or GitHub's own hour."""
        scope = Scope.of_path(f"/repos/{self.repository}")
        return self.world.mint("registration", scope, expires_in).value

    async def put_token(self) -> str:
        """Do what a launcher does: have a token issued, write it to the parameter, return it."""
        token = self.mint_token()
        await asyncio.to_thread(ssm.put, self.moto, self.parameter, token)
        return token

    def queue_job(self, wanted: dict[str, Any]) -> Job:
        """Queue a job at GitHub (local/README.md has its keys)."""
        return self.world.jobs.add(wanted, self.world.now())

    def misbehave(self, **knobs: Any) -> None:
        """Make the runner's program misbehave (local/README.md has the knobs)."""
        agent.misbehave(self.runner_folder, **knobs)

    def environment(self) -> dict[str, str]:
        """Return the agent's environment: the task's, the settings, nothing of this machine."""
        return agent.environment(
            ssm=self.ssm.url,
            ecs=self.ecs.environment,
            github_url=self.github_url,
            parameter=self.parameter,
            runner_folder=self.runner_folder,
            folder=self.folder,
        )


async def list_runners(api: str, repository: str) -> list[str]:
    """Ask GitHub's REST API for the names of a repository's runners, with an access token."""
    url = f"{api}/repos/{repository}/actions/runners"
    headers = {"Authorization": f"Bearer {PAT}", "Accept": "application/vnd.github+json"}
    timeout = aiohttp.ClientTimeout(total=60)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(url, headers=headers) as answer,
    ):
        return [str(each["name"]) for each in (await answer.json())["runners"]]
