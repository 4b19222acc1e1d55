"""The deployed launcher: its stacks on ministack, its jobs at the stand-ins of GitHub and ECS."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3

from launcher.deploy.target import Target
from local import agent, aws, ecs, github, sqs
from local.agent import PATIENCE
from local.github.scope import Scope
from local.stage import PAT
from tests.deploy import ministack
from tests.deploy.recorder import recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from local.github.jobs import Job
    from tests.deploy.recorder import Recorder

REPOSITORY = "octo/repo"
CANARY = "canary-webhook-secret-7f3a"  # of this test alone
DEPLOYMENT = "end-to-end"
STACK, POOL_STACK = f"runner-launcher-{DEPLOYMENT}", f"runner-pool-{DEPLOYMENT}"


@dataclass
class Deployed:
    """Two stacks that the commands have deployed."""

    url: str
    folder: Path
    printed: str
    """The output of the commands."""
    outputs: dict[str, str] = field(default_factory=dict)
    pool_outputs: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """Return a client of this AWS."""
        if service not in self.clients:
            self.clients[service] = boto3.client(
                service,
                endpoint_url=self.url,
                region_name=aws.REGION,
                aws_access_key_id=aws.ACCOUNT,
                aws_secret_access_key="test",
            )
        return self.clients[service]

    def close(self) -> None:
        """Close all clients."""
        for client in self.clients.values():
            client.close()

    def resource(self, name: str, stack: str = STACK) -> str:
        """Return the physical id of a resource of the stack."""
        found = self.client("cloudformation").describe_stack_resources(StackName=stack)
        return next(
            str(each["PhysicalResourceId"])
            for each in found["StackResources"]
            if each["LogicalResourceId"] == name
        )

    @property
    def webhook_url(self) -> str:
        """The function URL, as ministack serves it without a name of its own."""
        number = self.outputs["WebhookUrl"].removeprefix("https://").partition(".")[0]
        return f"{self.url}/_aws/lambda-url/{number}/"

    def read_outputs(self) -> None:
        """Read the outputs of both stacks."""
        for stack, outputs in ((STACK, self.outputs), (POOL_STACK, self.pool_outputs)):
            found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
            outputs.update({each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]})

    def set_environment(self, function: str, **variables: str) -> None:
        """Add variables to those that the template gave a function."""
        functions = self.client("lambda")
        name = self.resource(function)
        found = functions.get_function_configuration(FunctionName=name)["Environment"]
        changed = {"Variables": {**found["Variables"], **variables}}
        functions.update_function_configuration(FunctionName=name, Environment=changed)

    def set_mapping(self, **changes: Any) -> None:
        """Change how the queue feeds the worker."""
        number = self.resource("WorkerTakesMessages")
        self.client("lambda").update_event_source_mapping(UUID=number, **changes)

    def policies(self, role: str, stack: str = STACK) -> list[Any]:
        """Return the policies of a role."""
        iam = self.client("iam")
        name = self.resource(role, stack)
        found = iam.list_role_policies(RoleName=name)["PolicyNames"]
        return [
            iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in found
        ]

    def role_arn(self, role: str, stack: str = STACK) -> str:
        """Return the ARN of a role."""
        name = self.resource(role, stack)
        return str(self.client("iam").get_role(RoleName=name)["Role"]["Arn"])

    def templates(self) -> str:
        """Return all that CloudFormation shows of the stacks to whoever may look at them."""
        cloudformation = self.client("cloudformation")
        return repr(
            [
                cloudformation.describe_stacks(),
                *[
                    what(StackName=stack)
                    for stack in (STACK, POOL_STACK)
                    for what in (
                        cloudformation.get_template,
                        cloudformation.describe_stack_events,
                        cloudformation.describe_stack_resources,
                    )
                ],
            ]
        )

    def environments(self) -> str:
        """Return what Lambda shows of the functions."""
        return repr(self.client("lambda").list_functions()["Functions"])


@contextmanager
def deploy(folder: Path) -> Iterator[Deployed]:
    """Start an AWS, and deploy to it as docs/deploy.md says: by two commands."""
    with ministack.serving(folder) as url:
        target = Target.of_this_machine()
        secret, pat = folder / "webhook-secret", folder / "pat"
        secret.write_text(CANARY)
        pat.write_text(PAT)
        common = ("--deployment", DEPLOYMENT)
        machine = ("--python", target.python, "--architecture", target.architecture)
        stack = ("stack", *common, *machine, "--runners", "--allow", "octo")
        printed = _run(url, folder, *stack)
        printed += _run(
            url, folder, "secrets", *common, "--webhook-secret", str(secret), "--pat", str(pat)
        )
        deployed = Deployed(url, folder, printed)
        with closing(deployed):
            deployed.read_outputs()
            yield deployed


def _run(url: str, folder: Path, *arguments: str) -> str:
    """Run one command; return what it printed."""
    environment = {
        **agent.base_environment(),
        **{key: os.environ[key] for key in os.environ if key.startswith(("PIP_", "COVERAGE"))},
        "HOME": os.environ.get("HOME", str(folder)),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": aws.ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    done = subprocess.run(
        [sys.executable, "-m", "launcher.deploy", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Stage:
    """A deployment that serves jobs."""

    def __init__(
        self,
        deployed: Deployed,
        plane: ecs.ControlPlane,
        hub: github.GitHub,
        calls: dict[str, Recorder],
    ) -> None:
        self.deployed = deployed
        self.ecs = plane
        self.github = hub
        self.calls = calls
        """By the function that makes them."""

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
        calls = {name: await enter(recording(deployed.url)) for name in ("Webhook", "Worker")}
        calls["ECS"] = await enter(recording(plane.url))
        await asyncio.to_thread(_connect, deployed, hub, calls)
        # Else the worker would go on, with nobody to call any more.
        stack.push_async_callback(asyncio.to_thread, deployed.set_mapping, Enabled=False)
        hub.world.hooks.add(
            deployed.webhook_url, CANARY, scope=Scope.of_path("/repos/" + REPOSITORY)
        )
        stage = Stage(deployed, plane, hub, calls)
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


def _connect(deployed: Deployed, hub: github.GitHub, calls: dict[str, Recorder]) -> None:
    """Do what only a test needs: lead the functions' calls to the stand-ins."""
    # ministack takes the template's number as text, and CloudFormation as a number.
    deployed.set_mapping(ScalingConfig={"MaximumConcurrency": 2})
    deployed.set_environment("Webhook", AWS_ENDPOINT_URL=calls["Webhook"].url)
    deployed.set_environment(
        "Worker",
        AWS_ENDPOINT_URL=calls["Worker"].url,
        AWS_ENDPOINT_URL_ECS=calls["ECS"].url,
        LAUNCHER_GITHUB_URL=hub.url,
    )
