"""The deployed launcher, whose jobs are at the stand-ins of GitHub, ECS and EC2."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from local import agent, ec2, ecs, github, oidc, sqs, sts
from local.agent import PATIENCE
from local.github.owner import send_again
from local.github.scope import Scope
from local.stage import PAT
from tests.deploy import garo, guests
from tests.deploy.deployed import API_STACK, CANARY
from tests.deploy.guests import REPOSITORY
from tests.deploy.recorder import recording
from tests.deploy.swept import PAUSE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.github.jobs import Job
    from tests.deploy.deployed import Deployed
    from tests.deploy.recorder import Recorder


class Stage:
    """A deployment that serves jobs."""

    def __init__(
        self,
        deployed: Deployed,
        plane: ecs.ControlPlane,
        machines: ec2.ControlPlane,
        hub: github.GitHub,
        calls: dict[str, Recorder],
        issuer: oidc.Issuer,
        roles: sts.Sts,
    ) -> None:
        self.deployed = deployed
        self.ecs = plane
        self.ec2 = machines
        self.github = hub
        self.calls = calls
        """By the function that makes them."""
        self.issuer = issuer
        self.sts = roles
        self.tokens: list[str] = []
        """The tokens of jobs that were made for the API."""

    @property
    def queue(self) -> str:
        """The URL of the queue."""
        return self.deployed.outputs["QueueUrl"]

    @property
    def dead_letters(self) -> str:
        """The URL of the dead letters."""
        return self.deployed.outputs["DeadLettersUrl"]

    def queue_job(self, *labels: str, step: str = "echo it ran") -> Job:
        """Queue a job; GitHub tells of it by its webhook."""
        wanted = {
            "name": "build",
            "labels": list(labels),
            "steps": [{"run": step}],
            "repository": REPOSITORY,
        }
        return self.github.world.jobs.add(wanted, self.github.world.now())

    async def wait(self, look: Any, seconds: float = PATIENCE) -> Any:
        """Wait until GitHub's or ECS's state is as wanted."""
        return await self.github.world.changes.until(look, seconds)

    def count(self, queue: str) -> dict[str, int]:
        """Count the messages of a queue."""
        return sqs.count(self.deployed.url, queue)

    def send(self, body: Any) -> None:
        """Send a message past the webhook, as EventBridge does."""
        sqs.send(self.deployed.url, self.queue, body)


@asynccontextmanager
async def open_stage(deployed: Deployed, **agent_settings: Any) -> AsyncIterator[Stage]:
    """Connect a deployment to the stand-ins of GitHub and ECS."""
    image = {f"SIDECAR_{key.upper()}": value for key, value in agent_settings.items()}
    image |= {key: os.environ[key] for key in os.environ if key.startswith("COVERAGE")}
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = stack.enter_context(agent.make_folder("deployed-"))
        hub = await enter(github.serving(pats=[PAT]))
        host = ecs.AgentHost(folder, deployed.url, image)
        tell = ecs.send_to_queue(deployed.url, deployed.outputs["QueueUrl"])
        plane = await enter(ecs.serving(host.start, tell=tell))
        plane.clusters.add(deployed.pool_outputs["ClusterArn"].rpartition("/")[2])
        plane.definitions.append(ecs.TaskDefinition(family=deployed.pool_outputs["Family"]))
        hosts = await enter(ec2.serving(tell=tell))
        hosts.templates = [deployed.machines.template, deployed.guest.machines.template]
        plane.clusters.add(guests.CLUSTER)
        plane.definitions.append(ecs.TaskDefinition(family=guests.FAMILY))
        issuer, roles = await enter(oidc.serving()), await enter(sts.serving())
        roles.add(guests.ROLE, guests.EXTERNAL_ID)
        roles.add(garo.ROLE, garo.EXTERNAL_ID, tags_allowed=False)
        upstreams = {
            **dict.fromkeys(("Webhook", "Worker", "Api", "Sweep"), deployed.url),
            **dict.fromkeys(("WorkerECS", "ApiECS", "SweepECS"), plane.url),
            **dict.fromkeys(("WorkerEC2", "ApiEC2", "SweepEC2"), hosts.url),
            "ApiSTS": roles.url,
        }
        calls = {name: await enter(recording(url)) for name, url in upstreams.items()}
        stage = Stage(deployed, plane, hosts, hub, calls, issuer, roles)
        await asyncio.to_thread(_connect, stage)
        # Else the worker would go on, with nobody to call any more.
        stack.push_async_callback(asyncio.to_thread, deployed.set_mapping, Enabled=False)
        hub.world.hooks.add(
            deployed.webhook_url, CANARY, scope=Scope.of_path("/repos/" + REPOSITORY)
        )
        # A function that is started anew takes long on a busy machine.
        resending = asyncio.create_task(send_again(hub.world))
        stack.callback(resending.cancel)
        try:
            yield stage
        except BaseException:
            print((deployed.folder / "ministack.log").read_text()[-20_000:], file=sys.stderr)
            for name, recorder in calls.items():
                print(
                    name, [(call.target, call.status) for call in recorder.calls], file=sys.stderr
                )
            print(
                [(each.action, each.status) for each in hub.world.hooks.deliveries], file=sys.stderr
            )
            for task in plane.tasks:
                print(task.arn, task.process.transcript() if task.process else "", file=sys.stderr)
            raise


def _connect(stage: Stage) -> None:
    """Do what only a test needs: lead the functions' calls to the stand-ins."""
    deployed, calls = stage.deployed, stage.calls
    deployed.set_environment("Webhook", AWS_ENDPOINT_URL=calls["Webhook"].url)
    deployed.set_environment(
        "Worker",
        AWS_ENDPOINT_URL=calls["Worker"].url,
        AWS_ENDPOINT_URL_ECS=calls["WorkerECS"].url,
        AWS_ENDPOINT_URL_EC2=calls["WorkerEC2"].url,
        LAUNCHER_GITHUB_URL=stage.github.url,
    )
    deployed.set_environment(
        "Sweep",
        AWS_ENDPOINT_URL=calls["Sweep"].url,
        AWS_ENDPOINT_URL_ECS=calls["SweepECS"].url,
        AWS_ENDPOINT_URL_EC2=calls["SweepEC2"].url,
        LAUNCHER_GITHUB_URL=stage.github.url,
        LAUNCHER_PAUSE=f"{PAUSE:g}",
    )
    deployed.set_environment(
        "Api",
        API_STACK,
        AWS_ENDPOINT_URL=calls["Api"].url,
        AWS_ENDPOINT_URL_ECS=calls["ApiECS"].url,
        AWS_ENDPOINT_URL_EC2=calls["ApiEC2"].url,
        AWS_ENDPOINT_URL_STS=calls["ApiSTS"].url,
        LAUNCHER_GITHUB_URL=stage.github.url,
        LAUNCHER_API_ISSUER=stage.issuer.url,
    )
    # ministack takes the template's number as text, and CloudFormation as a number: until now it
    # has handled no message. A worker that is changed while it has one would hold it for minutes.
    deployed.set_mapping(ScalingConfig={"MaximumConcurrency": 2})
