"""Ask about one task or machine: ECS or EC2, its token's metadata, its agent's log."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from launcher import identity
from launcher.explain.entries import Source, clean
from launcher.explain.sources import logs, machines, tasks, token
from launcher.explain.sources.tasks import LogPlace
from sidecar.aws.calls import NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from launcher.explain.case import Case, Home
    from sidecar.aws.session import ServiceClient

T = TypeVar("T")


class Asking(Protocol):
    """Whoever asks, and notes what has no answer."""

    case: Case

    async def ask(self, source: Source, work: Awaitable[T], permission: str = "") -> T | None:
        """Ask one question."""

    async def find_out(
        self, source: Source, work: Awaitable[T], permission: str = ""
    ) -> tuple[bool, T | None]:
        """Ask one question; say whether there was an answer, and which."""


@dataclass
class Homes:
    """The clients that tell of tasks and machines."""

    ecs: Callable[[str, str], ServiceClient]
    """Return the client for a cluster and a container."""
    ec2: ServiceClient
    ssm: ServiceClient
    parameter_prefix: str
    cluster: str
    container: str
    region: str | None
    reads_logs: bool = True
    _logs: dict[str | None, logs.AgentLogs] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def aclose(self) -> None:
        """Close the clients that were opened here."""
        await self._stack.aclose()

    async def ask(self, asking: Asking, home: Home) -> None:
        """Ask about one, and note what is found."""
        if home.is_current:
            home.parameter = identity.parameter_name(self.parameter_prefix, home.place)
            metadata = token.read_metadata(self.ssm, home.parameter)
            home.token_asked, home.token = await asking.find_out(Source.SSM, metadata)
        if identity.is_machine(home.place):
            await self._ask_machine(asking, home)
        else:
            await self._ask_task(asking, home)

    async def _ask_task(self, asking: Asking, home: Home) -> None:
        home.cluster = home.cluster or self.cluster
        home.container = home.container or self.container
        client = self.ecs(home.cluster, home.container)
        task = identity.task_id(home.place)
        asked = tasks.describe_task(client, home.cluster, task)
        home.was_asked, home.described = await asking.find_out(Source.ECS, asked)
        if home.described is not None:
            home.definition = str(home.described.get("taskDefinitionArn", home.definition))
        if self.reads_logs:
            await self._read_log(asking, home, client, task)

    async def _read_log(self, asking: Asking, home: Home, client: ServiceClient, task: str) -> None:
        if not home.definition:
            reason = "the agent's log was not read: nobody tells the task definition of the task"
            asking.case.note_unseen(Source.AGENT, reason)
            return
        finding = tasks.find_log(client, home.definition, home.container, task)
        place = await asking.ask(Source.AGENT, finding)
        if isinstance(place, str):
            asking.case.note_unseen(Source.AGENT, clean(place))
        if not isinstance(place, LogPlace):
            return
        lines = await asking.ask(Source.AGENT, self._read_lines(home, place))
        home.events, home.lines = logs.parse(lines or ())

    async def _read_lines(self, home: Home, place: LogPlace) -> list[str]:
        region = place.region or self.region
        if region not in self._logs:
            client = logs.AgentLogs(region)
            self._logs[region] = await self._stack.enter_async_context(client)
        try:
            return await self._logs[region].read(place)
        except NotFound:
            if home.described is not None and home.described.get("startedAt") is None:
                return []  # its agent has not begun
            raise

    async def _ask_machine(self, asking: Asking, home: Home) -> None:
        asked = machines.describe_machine(self.ec2, home.place)
        home.was_asked, home.described = await asking.find_out(Source.EC2, asked)
        if home.described is None:
            return
        lines = await asking.ask(Source.EC2, machines.read_console(self.ec2, home.place))
        home.events, home.lines = logs.parse(lines or ())
