"""Run the launcher's real code in this process, against services that fail; agents are models.

Hundreds of cells run side by side in one process. So what a process has once is here one for each
cell, by context variables: the addresses of the services, and the log.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

import aiohttp
import stamina
import structlog
from aiobotocore.session import AioSession
from stamina.instrumentation import set_on_retry_hooks

from launcher import handing_over, launch, order_stages, retries, secret, serve, start
from launcher.demand import queue
from local import aws, ec2, ecs, ecs_agent, faults, github, ssm
from local.github.runners import Runner
from local.github.scope import Scope
from local.runner.program import keys
from local.stage import PAT
from sidecar.aws import sealing, session
from sidecar.aws.secrets import SecretReader
from sidecar.github import api
from tests.support.patient_clock import patient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

REPOSITORY = "octo/repo"
PREFIX = "/launches/tokens"
NAMES = "ecs-"
"""How the runners' names begin."""
PAUSES = 0.01
"""Factor for the pauses between two tries."""
ANSWER_WITHIN = 2.0
"""Seconds for one try of a call."""
LOOK_EVERY = 0.05
"""Seconds between two looks of a model agent at its token."""
SERVICES = ("ec2", "ecs", "ssm", "secretsmanager", "dynamodb", "sqs", "sts")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}

addresses: ContextVar[Mapping[str, str]] = ContextVar("addresses")
"""The URL of each AWS service."""
log_lines: ContextVar[list[dict[str, Any]]] = ContextVar("log_lines")


# --- one process, many cells ----------------------------------------------------------------------


@asynccontextmanager
async def hurried() -> AsyncIterator[None]:
    """Make deadlines and pauses short, and give each cell its own log and addresses.

    Only waiting times change, never what is done. Deadlines are those of a machine that is never
    busy: time stands still while this process does.
    """
    patiently = stamina.retry_context

    def hurry(on: Any, **given: Any) -> Any:
        return patiently(on=lambda error: (wait := on(error)) and wait * PAUSES, **given)

    own = AioSession()
    changes: list[tuple[Any, str, Any]] = [
        (stamina, "retry_context", hurry),
        (session, "get_session", lambda: own),
        (order_stages, "SecretReader", functools.partial(_make_reader, own)),
        (api, "CALL", aiohttp.ClientTimeout(total=ANSWER_WITHIN)),
        (start, "FIRST_PAUSE", 0.1),
        (launch, "FIRST_LOOK", 0.05),
        (launch, "LONGEST_LOOK", 0.2),
        (launch, "END_TIMEOUT", 3.0),
        (launch, "UNKNOWN_FOR", 2.0),
        (handing_over, "UNSETTLED_FOR", 0.5),
        (secret, "SecretReader", functools.partial(_make_reader, own)),
        (serve, "FIRST_PAUSE", 0.1),
        (queue, "TIMEOUT", 3 * ANSWER_WITHIN),
        (queue, "LONGEST_WAIT", 1.0),
        (serve, "LONGEST_WAIT", 1.0),
        (queue.Queue, "config", session.CONFIG),
        (keys, "fresh", functools.cache(keys.fresh)),  # a key takes longer than a whole cell
    ]
    async with AsyncExitStack() as stack:
        stack.enter_context(patient(asyncio.get_running_loop()))
        stack.enter_context(patch.dict(os.environ, CREDENTIALS))
        for owner, name, value in changes:
            stack.enter_context(patch.object(owner, name, value))
        clients = {name: await _open_client(stack, own, name) for name in SERVICES}
        stack.enter_context(
            patch.object(own, "create_client", lambda name, **_: nullcontext(clients[name]))
        )
        stack.enter_context(_capture_logs())
        retries.log_retries()
        stack.callback(set_on_retry_hooks, None)
        yield


def _make_reader(own: AioSession, region: str | None, *, shared: bool) -> SecretReader:
    return SecretReader(region, lambda: own, shared, timeout=2 * ANSWER_WITHIN)


async def _open_client(stack: AsyncExitStack, own: AioSession, name: str) -> Any:
    """Make a client that all cells share: making one takes longer than a whole cell."""
    more = type(session.CONFIG)(read_timeout=ANSWER_WITHIN, max_pool_connections=200)
    client = await stack.enter_async_context(
        own.create_client(name, region_name=aws.REGION, config=session.CONFIG.merge(more))
    )

    def lead(request: Any, **_: Any) -> None:
        request.url = addresses.get()[name] + "/"

    client.meta.events.register("before-sign", lead)
    return client


@contextmanager
def _capture_logs() -> Iterator[None]:
    """Put each event into the log of its own cell, also of loggers that are configured already."""

    def keep(_logger: Any, level: str, event: Any) -> NoReturn:
        log_lines.get([]).append({**event, "level": level})
        raise structlog.DropEvent

    # The list itself: loggers that were used before hold it (as in structlog.testing).
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [keep]
    structlog.configure(processors=processors)
    try:
        yield
    finally:
        processors[:] = before
        structlog.configure(processors=processors)


# --- agents as models -----------------------------------------------------------------------------


class ModelProcess:
    """What the stand-in for ECS wants of an agent's process."""

    def __init__(self) -> None:
        self.process = self
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        """Wait for the exit code."""
        return await asyncio.shield(self.ended)

    def signal(self, _number: int) -> None:
        """End well, as an agent that is stopped does."""
        self.end(0)

    def kill(self) -> None:
        """End at once."""
        self.end(-9)

    def end(self, code: int) -> None:
        """End with this exit code."""
        if not self.ended.done():
            self.ended.set_result(code)


@dataclass
class Stage:
    """One cell's services, each behind a proxy that can make its calls fail."""

    moto: str
    plane: ecs.ControlPlane
    hub: github.GitHub
    proxies: dict[str, faults.Proxy] = field(default_factory=dict)
    """To aws, ecs and github."""
    log: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, ModelProcess] = field(default_factory=dict)
    """The agents by the ids of their tasks."""
    machines: ec2.ControlPlane | None = None
    """EC2, where a cell has machines."""
    may_run: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: the agents of machines are not started."""

    @property
    def github_url(self) -> str:
        """The URL of the repository, through the proxy."""
        return f"{self.proxies['github'].url}/{REPOSITORY}"

    def environment(self, **settings: str | None) -> dict[str, str]:
        """Return the launcher's variables; `settings` in lower case, None for none."""
        given: dict[str, str | None] = {
            "github_url": self.github_url,
            "github_pat": PAT,
            "cluster": "runners",
            "task_definition": "runner",
            "parameter_prefix": PREFIX,
            "name_prefix": NAMES,
            "log_format": "json",
            **settings,
        }
        return {f"LAUNCHER_{key.upper()}": value for key, value in given.items() if value}

    @asynccontextmanager
    async def start_agent(
        self, own: ecs_agent.Agent, environment: Mapping[str, str]
    ) -> AsyncIterator[Any]:
        """Run a model of an agent: it reads its token, deletes it, and waits for a job."""
        process = self.processes[own.task.id] = ModelProcess()
        life = asyncio.create_task(self._live(own.task.id, environment))
        life.add_done_callback(self._tell_of_crash)
        try:
            yield process
        finally:
            life.cancel()
            for runner in self.runners_of(own.task.id):
                _close_sessions(self.hub, runner)

    def hold_agents(self) -> None:
        """Start no agent from now on."""
        self.plane.may_run.clear()
        self.may_run.clear()

    async def run_machine(self, machine: ec2.Machine) -> None:
        """Run a model of an agent on a machine, and say on its console how it has ended."""
        await self.may_run.wait()
        own = SimpleNamespace(task=SimpleNamespace(id=machine.id))
        async with self.start_agent(own, {}) as process:  # type: ignore[arg-type]
            code = await process.wait()
        machine.say(f"runner-machine: the agent has ended with exit code {code}")

    def _tell_of_crash(self, life: asyncio.Task[None]) -> None:
        """Say in the log why a model of an agent has ended, for whoever waits for its runner."""
        if not life.cancelled() and (error := life.exception()):
            self.log.append({"event": "model.crashed", "error": repr(error), "level": "error"})

    async def _live(self, task: str, environment: Mapping[str, str]) -> None:
        name, aws = f"{PREFIX}/{task}", self.proxies["aws"]
        await aws.reached(target="PutParameter")  # moto takes long for each look
        while (token := await asyncio.to_thread(ssm.read, self.moto, name)) is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY)  # as agents do
        await asyncio.to_thread(ssm.call, self.moto, "DeleteParameter", Name=name)
        if sealing.is_sealed(token):
            token = sealing.unseal(token, environment["SIDECAR_TOKEN_KEY"], task)
        runner = self._register(task, token)
        opened = self.hub.world.open_session(runner, "model", "2.0")
        opened.polls = 1

    def _register(self, task: str, token: str) -> Runner:
        """Register with a registration token; one that is just in time is there already."""
        world = self.hub.world
        document = json.loads(token) if token.startswith("{") else {}
        if "token" not in document:
            return self.runners_of(task)[-1]
        scope = Scope.of_path(f"/repos/{REPOSITORY}")
        return world.runners.add(
            Runner(0, document["name"], scope, [], True, visible_at=0.0, modulus="")
        )

    def runners_of(self, task: str) -> list[Runner]:
        """List the runners of a task."""
        return [each for each in self.hub.world.runners if task in each.name]


def _close_sessions(hub: github.GitHub, runner: Runner) -> None:
    for opened in list(hub.world.sessions.values()):
        if opened.runner_id == runner.id:
            hub.world.close_session(opened.id)


@asynccontextmanager
async def open_stage(
    moto: str, tell: Any = None, *, machines: bool = False, **more: str
) -> AsyncIterator[Stage]:
    """Open the stage of one cell, in front of the AWS at `moto`; with `machines` EC2 too.

    `more` are the URLs of services that moto does not play; ECS `tell`s of its tasks.
    """
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(github.serving(pats=[PAT]))
        stage: Stage

        def start_agent(own: ecs_agent.Agent, environment: Mapping[str, str]) -> Any:
            return stage.start_agent(own, environment)

        plane = await stack.enter_async_context(ecs.serving(start_agent, tell=tell))
        stage = Stage(moto, plane, hub)
        stage.may_run.set()
        if machines:
            stage.machines = await stack.enter_async_context(
                ec2.serving(stage.run_machine, tell=tell)
            )
            data = {**ec2.LaunchTemplate().data, "InstanceInitiatedShutdownBehavior": "terminate"}
            stage.machines.templates = [ec2.LaunchTemplate(data=data)]
            more["ec2"] = stage.machines.url
        urls = {"aws": moto, "ecs": plane.url, "github": hub.url, **more}
        for name, url in urls.items():
            stage.proxies[name] = await stack.enter_async_context(faults.serving(url))
        proxies = {name: stage.proxies.get(name, stage.proxies["aws"]) for name in SERVICES}
        addresses.set({name: proxy.url for name, proxy in proxies.items()})
        log_lines.set(stage.log)
        yield stage
