"""`make demo ROLES=1`: three jobs, one after the other, each with its own role, or none.

The rules are the agent's; STS is a stand-in that lets a role be assumed only with the tags that
the role's trust policy asks for. Each job starts a process that asks AWS who it is.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local import aws, sts
from local.demo import agent as agents
from local.demo import nested, story, verdict, watching
from local.demo.endings import ENDINGS, STEPS
from local.demo.scenario import open_stage
from local.demo.verdict import Check
from local.stage import REPOSITORY

if TYPE_CHECKING:
    from local.agent import AgentProcess
    from local.demo.nested import Container
    from local.demo.timeline import Timeline
    from local.stage import Stage

DEPLOY, BUILD = (f"arn:aws:iam::{aws.ACCOUNT}:role/{name}" for name in ("deploy", "build"))
RULES = f"""
[[job]]
name = "deploy"
repository = "{REPOSITORY}"
ref = "refs/heads/main"
role = "{DEPLOY}"

[[job]]
name = "build"
repository = "{REPOSITORY}"
event = ["push", "pull_request"]
role = "{BUILD}"
"""
NO_ROLE = "nobody: it has no credentials"


@dataclass(frozen=True)
class Scene:
    """One job, and who it must be for AWS."""

    name: str
    identity: str
    job: dict[str, Any] = field(default_factory=dict)


SCENES = (
    Scene("deploy main", "assumed-role/deploy", {"head_branch": "main"}),
    Scene("build a branch", "assumed-role/build", {"head_branch": "feature"}),
    Scene(
        "check a fork",
        NO_ROLE,
        {"event": "pull_request", "pull_request": 7, "head_repository": "mallory/demo"},
    ),
)


async def run(timeline: Timeline) -> tuple[list[Check], AgentProcess | None]:
    """Show it; returns what was verified, and the last agent."""
    checks: list[Check] = []
    with timeline.live():
        timeline.begin("stage", "demo", "starts stand-ins for AWS, ECS and GitHub")
        async with AsyncExitStack() as stack:
            stage = await stack.enter_async_context(open_stage(ENDINGS[""]))
            asked = await stack.enter_async_context(sts.serving(stage.moto))
            asked.add(DEPLOY, tags={"repository": REPOSITORY, "ref": "refs/heads/main"})
            asked.add(BUILD, tags={"repository": REPOSITORY})
            timeline.done("demo", "has started stand-ins for AWS, ECS and GitHub", "stage")
            agent: AgentProcess | None = None
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(watching.watch(stage.world, timeline))
                for number, scene in enumerate(SCENES):
                    found, agent = await _play(stage, asked.url, scene, number, timeline)
                    checks += found
                watcher.cancel()
            checks += await _check_left(stage)
        left = [str(stage.folder)] if stage.folder.exists() else []
        checks.append(
            Check("files of the demo", verdict.NOTHING, verdict.list_all(left), left=True)
        )
    return checks, agent


async def _play(
    stage: Stage, sts_url: str, scene: Scene, number: int, timeline: Timeline
) -> tuple[list[Check], AgentProcess]:
    """Run one life with one job."""
    await stage.put_token()
    timeline.done("demo", f"lets a job come: {scene.name}", style="bold")
    env = {
        "SIDECAR_ROLES": RULES,
        "AWS_ENDPOINT_URL_STS": sts_url,
        "SIDECAR_NAME_PREFIX": f"task{number}-",
    }
    with nested.prepare(stage, f"container{number}") as container:
        stage.queue_job(
            {
                "name": scene.name,
                "repository": REPOSITORY,
                "env": {"CONTAINER": str(container.folder), "GITHUB_REF": "refs/heads/main"},
                "steps": STEPS,
                **scene.job,
            }
        )
        async with agents.run(stage, ENDINGS[""], env) as agent:
            await _follow(stage, agent, container, timeline)
            code = await agent.wait_for_end()
    seen = _describe(container.arn)
    return [
        Check(f"“{scene.name}” is, for AWS", scene.identity, seen),
        Check("its agent's exit code", "0", str(code)),
    ], agent


async def _follow(
    stage: Stage, agent: AgentProcess, container: Container, timeline: Timeline
) -> None:
    """Show what happens until the agent has ended."""
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(_run_container(stage, container, timeline))
        async for event in agent.follow():
            story.show(event, timeline)
        await agent.wait_for_end()
        asking.cancel()


async def _run_container(stage: Stage, container: Container, timeline: Timeline) -> None:
    uri = await container.wait_for_start()
    timeline.begin("container", "container", "asks AWS who it is; it knows only the relay")
    arn = await container.run(uri, stage)
    timeline.done("container", f"has asked AWS who it is: {_describe(arn)}", "container")


def _describe(arn: str) -> str:
    """Return the role of an answer of AWS's, without the session."""
    return arn.split(":", 5)[-1].rpartition("/")[0] if arn.startswith("arn:") else NO_ROLE


async def _check_left(stage: Stage) -> list[Check]:
    names = await asyncio.to_thread(aws.names, stage.moto)
    runners = [runner.name for runner in stage.world.runners]
    return [
        Check("parameters in SSM", verdict.NOTHING, verdict.list_all(names), left=True),
        Check("runners at GitHub", verdict.NOTHING, verdict.list_all(runners), left=True),
    ]
