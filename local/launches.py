"""The stage of whole launches: GitHub, AWS, and an ECS that really starts agents.

`open_stage` starts the stand-ins; a `Stage` runs the launcher's commands as processes among them.
With `queue` there are also an SQS queue, its dead letters and a table; ECS tells that queue of its
tasks.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from local import agent, aws, ecs, faults, github, leftovers, sqs
from local.agent import AgentProcess
from local.github.apps import fresh_key
from local.github.owner import LATE, send_again
from local.github.scope import Scope
from local.stage import PAT, list_runners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from local.github.apps import App
    from local.github.jobs import Job
    from local.github.webhooks import Delivery, Hook

S = TypeVar("S", bound="Stage")
COMMAND = (sys.executable, "-m", "launcher")
REPOSITORY = "octo/repo"
PREFIX = "/launches/tokens"
LOOKS_AGAIN = (0.05, 1.0)
"""Seconds until put-off messages come once more: the first time, and the longest; they double."""
WEBHOOK_SECRET = "the secret of a webhook"
POOLS = """\
[[pool]]
name = "build"
labels = ["build"]
cluster = "runners"
task_definition = "runner:1"
capacities = ["FARGATE_SPOT", "FARGATE"]
subnets = ["subnet-01234567"]
maximum = 50
"""
"""The pools of a worker, unless it is given others."""


class Stage:
    """The surroundings of a launcher, and what is left of its launches."""

    command: tuple[str, ...] = COMMAND
    """The command that starts the launcher."""
    talkative = False
    """Whether everything that was logged is printed when a block fails."""

    def __init__(
        self,
        moto: str,
        ssm: faults.Proxy,
        plane: ecs.ControlPlane,
        front: faults.Proxy,
        hub: github.GitHub,
        folder: Path,
        queues: aws.Queues | None,
        host: ecs.AgentHost,
    ) -> None:
        self.moto = moto
        self.ssm = ssm
        """The proxy in front of SSM, SQS and DynamoDB, which can make calls fail."""
        self.ecs = plane
        self.front = front
        """The proxy in front of ECS, which can make calls fail."""
        self.github = hub
        self.folder = folder
        self.host = host
        """Where the agents of tasks run."""
        self.queues = queues or aws.Queues("", "")
        self.sts = ssm.url
        """Where roles are assumed."""
        self.pools = folder / "pools.toml"
        self.pools.write_text(POOLS, encoding="utf-8")
        self.credential = {"github_pat": PAT}
        """The worker's credential for GitHub, as settings."""
        self.launchers: list[AgentProcess] = []
        """Every process of the launcher that was started."""
        self._numbers = itertools.count()

    # -- the launcher ------------------------------------------------------------------------

    def behind(self, ssm: faults.Proxy, front: faults.Proxy) -> Self:
        """Return this stage as those see it who reach AWS through proxies of their own."""
        other = copy.copy(self)
        other.ssm, other.front = ssm, front
        return other

    def environment(self, **given: str) -> dict[str, str]:
        """Return the launcher's environment; what is `given` are its settings, lower case."""
        kept = [key for key in os.environ if key.startswith(("COVERAGE", "PYTHONPATH"))]
        return {
            **agent.base_environment(),
            **{key: os.environ[key] for key in kept},
            leftovers.MARK: str(self.folder / "launcher"),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_ENDPOINT_URL": agent.NO_SERVICE,
            **{f"AWS_ENDPOINT_URL_{name}": self.ssm.url for name in ("SSM", "SQS", "DYNAMODB")},
            "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": self.ssm.url,
            "AWS_ENDPOINT_URL_ECS": self.front.url,
            "AWS_ENDPOINT_URL_STS": self.sts,
            "LAUNCHER_LOG_FORMAT": "json",
            **{f"LAUNCHER_{name.upper()}": value for name, value in given.items()},
        }

    @asynccontextmanager
    async def launcher(self, *arguments: str, **settings: str) -> AsyncIterator[AgentProcess]:
        """Run `start` or `stop`; after the block it has ended, whatever went wrong."""
        given = {
            "github_url": f"{self.github.url}/{REPOSITORY}",
            "github_pat": PAT,
            "cluster": "runners",
            "task_definition": "runner",
            "parameter_prefix": PREFIX,
            **settings,
        }
        async with self._process(arguments, given) as process:
            yield process

    @asynccontextmanager
    async def webhook(self, *, told: bool = True, **settings: str) -> AsyncIterator[AgentProcess]:
        """Run the webhook's process for the block; if `told`, have GitHub send to it."""
        given = {**self._webhook_settings(), **settings}
        async with AsyncExitStack() as stack:
            process = await stack.enter_async_context(self._process(("webhook",), given))
            if told:
                await stack.enter_async_context(self._hook(process))
            yield process

    @asynccontextmanager
    async def worker(self, **settings: str) -> AsyncIterator[AgentProcess]:
        """Run a worker's process for the block."""
        async with self._process(("work",), {**self._work_settings(), **settings}) as process:
            await process.wait_for_event("service.started")
            yield process

    @asynccontextmanager
    async def serve(self, **settings: str) -> AsyncIterator[AgentProcess]:
        """Run webhook and worker in one process for the block."""
        given = {**self._webhook_settings(), **self._work_settings(), **settings}
        async with self._process(("serve",), given) as process, self._hook(process):
            yield process

    @asynccontextmanager
    async def api(self, issuer: str, **settings: str) -> AsyncIterator[tuple[AgentProcess, str]]:
        """Run the API's process for the block; yield it and its URL."""
        given = {**self._work_settings(), "api_issuer": issuer, **settings}
        given.pop("queue_url")
        async with self._process(("api",), given) as process:
            started = await process.wait_for_event("service.started")
            yield process, str(started["address"])

    @asynccontextmanager
    async def sweep(self, *arguments: str, **settings: str) -> AsyncIterator[AgentProcess]:
        """Run a sweep of the repository's runners, which has no table, for the block."""
        given = {
            "github_url": f"{self.github.url}/{REPOSITORY}",
            "cluster": "runners",
            "parameter_prefix": PREFIX,
            **self.credential,
            **settings,
        }
        async with self._process(("sweep", *arguments), given) as process:
            yield process

    @asynccontextmanager
    async def question(self, *arguments: str, **settings: str) -> AsyncIterator[AgentProcess]:
        """Run `explain` or `status`, with the worker's own settings."""
        async with self._process(arguments, self.question_settings(**settings)) as process:
            yield process

    def question_settings(self, **settings: str) -> dict[str, str]:
        """Return the settings of `explain` or `status`; an empty one is left out."""
        given = {**self._work_settings(), **settings}
        for field in ("listen", *(name for name, value in settings.items() if not value)):
            given.pop(field, None)
        return given

    def _webhook_settings(self) -> dict[str, str]:
        return {
            "queue_url": self.queues.main,
            "webhook_secrets": WEBHOOK_SECRET,
            "listen": "127.0.0.1:0",
        }

    def _work_settings(self) -> dict[str, str]:
        return {
            "queue_url": self.queues.main,
            "table": "launches",
            "pools": str(self.pools),
            "github_url": self.github.url,
            "parameter_prefix": PREFIX,
            "listen": "127.0.0.1:0",
            **self.credential,
        }

    @asynccontextmanager
    async def _hook(self, process: AgentProcess) -> AsyncIterator[None]:
        started = await process.wait_for_event("service.started")
        hook = self.add_hook(f"{started['address']}/webhook")
        repeating = asyncio.create_task(send_again(self.github.world))
        try:
            yield
        finally:
            repeating.cancel()
            self.github.world.hooks.remove(hook)

    async def wait_for_answers(self) -> None:
        """Wait until the webhook has answered each delivery, and none is to be sent again."""
        hooks = self.github.world.hooks

        def comes(delivery: Delivery) -> bool:
            if delivery.status_code in LATE:
                return delivery.hook in hooks
            return delivery.status_code == 0 and delivery not in hooks.held

        def look() -> bool | None:
            last = {each.guid: each for each in hooks.deliveries if each.action}
            return not any(map(comes, last.values())) or None

        await self.github.world.changes.until(look, 3600)

    @asynccontextmanager
    async def _process(
        self, arguments: tuple[str, ...], given: Mapping[str, str]
    ) -> AsyncIterator[AgentProcess]:
        folder = self.folder / "launcher" / str(next(self._numbers))
        env = {**self.environment(**given), leftovers.MARK: str(folder)}
        async with AgentProcess.start((*self.command, *arguments), env, folder) as process:
            self.launchers.append(process)
            try:
                yield process
            except BaseException:
                if self.talkative:
                    print(process.transcript(), file=sys.stderr)
                raise

    async def prepare_image(self) -> None:
        """Make the image of the tasks now, not with the first of them."""
        await self.host.prepare()

    # -- GitHub ------------------------------------------------------------------------------

    def add_hook(self, url: str) -> Hook:
        """Have GitHub send what happens to this URL: as an App's webhook, or the repository's."""
        hooks, app = self.github.world.hooks, next(iter(self.github.world.apps), None)
        scope = None if app else Scope.of_path(f"/repos/{REPOSITORY}")
        return hooks.add(url, WEBHOOK_SECRET, app=app, scope=scope)

    def add_app(self) -> tuple[App, str]:
        """Install a GitHub App in the repository's account; return it and its private key."""
        private, modulus, exponent = fresh_key()
        app = self.github.world.apps.add("launcher", modulus, exponent)
        self.github.world.apps.install(app, REPOSITORY.partition("/")[0])
        return app, private

    def queue_job(self, *labels: str, **more: Any) -> Job:
        """Queue a job that asks for these labels."""
        wanted = {
            "name": "build",
            "repository": REPOSITORY,
            "labels": list(labels),
            "steps": [{"run": "echo it ran"}],
            **more,
        }
        return self.github.world.jobs.add(wanted, self.github.world.now())

    async def list_runners(self) -> list[str]:
        """List GitHub's runners, as a user sees them."""
        return await list_runners(self.github.api, REPOSITORY)

    async def keep_logs(self, options: Mapping[str, str]) -> None:
        """Put what the tasks' agents have printed where the log driver puts it."""
        for task in self.ecs.tasks:
            lines = task.process.text.splitlines() if task.process is not None else []
            stream = f"{options['awslogs-stream-prefix']}/runner/{task.facts.id}"
            group = options["awslogs-group"]
            await asyncio.to_thread(aws.write_log, self.moto, group, stream, lines)

    # -- what is left ------------------------------------------------------------------------

    async def find_parameters(self) -> list[str]:
        """List the token parameters that are there now."""
        return await asyncio.to_thread(aws.names, self.moto, PREFIX)

    async def count_messages(self) -> dict[str, dict[str, int]]:
        """Count the messages of the queue and of its dead letters."""
        counts = {}
        for name, url in (("queue", self.queues.main), ("dead letters", self.queues.dead)):
            if url:  # there is none for the command line and the action
                counts[name] = await asyncio.to_thread(sqs.count, self.moto, url)
        return {name: found for name, found in counts.items() if found}

    async def wait_until_told(self) -> None:
        """Wait until AWS has told the queue of all that has happened."""
        await self.ecs.events.wait_until_told()

    async def empty_queue(self, seconds: float = agent.PATIENCE) -> dict[str, dict[str, int]]:
        """Let what is delayed come now, until the queue is empty; return what is left.

        Not while a message waits: what is put off until something ends would only come in between.
        Nor before AWS and GitHub have told all: an empty queue would say nothing.
        """
        pause, longest = LOOKS_AGAIN
        async with asyncio.timeout(seconds):
            await self.wait_until_told()
            await self.wait_for_answers()
            while "queue" in (left := await self.count_messages()):
                if "waiting" not in left["queue"]:
                    await asyncio.to_thread(aws.end_delays, self.moto)
                await asyncio.sleep(pause)  # SQS tells nobody that a message was deleted
                pause = min(2 * pause, longest)
        return left

    async def find_records(self) -> dict[str, dict[str, Any]]:
        """Return the records of launches by their id, as DynamoDB holds them."""
        items = await asyncio.to_thread(aws.read_table, self.moto, "launches")
        found = {}
        for item in items:
            kind, _, name = item["id"]["S"].partition("#")
            if kind == "launch":
                found[name] = {key: next(iter(value.values())) for key, value in item.items()}
        return found

    def find_secrets(self) -> list[str]:
        """Return all secrets that there were: tokens of GitHub, those of the launcher."""
        tokens = [token.value for token in self.github.world.tokens]
        return [PAT, WEBHOOK_SECRET, *tokens]


@asynccontextmanager
async def open_stage(
    moto: str, *, queue: bool = False, visibility: int = 30, make: type[S], **agent_settings: Any
) -> AsyncIterator[S]:
    """Open a stage of the class `make`; `agent_settings` are SIDECAR_ variables, lower case.

    A receiver holds a message of the queue for `visibility` seconds.
    """
    kept = {key: os.environ[key] for key in os.environ if key.startswith("COVERAGE")}
    image = {f"SIDECAR_{key.upper()}": value for key, value in agent_settings.items()} | kept
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(agent.make_folder("launch-"))
        enter = stack.enter_async_context
        queues = await asyncio.to_thread(_make_queues, moto, visibility) if queue else None
        ssm = await enter(faults.serving(moto))
        hub = await enter(github.serving(pats=[PAT]))
        host = ecs.AgentHost(folder, ssm.url, image)
        tell = ecs.send_to_queue(moto, queues.main) if queues else None
        plane = await enter(ecs.serving(host.start, tell=tell))
        front = await enter(faults.serving(plane.url))
        try:
            yield make(moto, ssm, plane, front, hub, folder, queues, host)
        except BaseException:
            for task in plane.tasks if make.talkative else ():
                print(task.arn, task.process.transcript() if task.process else "", file=sys.stderr)
            raise


def _make_queues(moto: str, visibility: int) -> aws.Queues:
    aws.make_table(moto)
    return aws.make_queues(moto, visibility=visibility)
