"""Start, look at and end machines of EC2; what AWS answers becomes started, later or refused.

A machine is found by its tags, one of which is the client token of the request that started it. So
it is known before the request is sent again, whichever of the two operations it is.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from launcher import identity
from launcher.places import Later, Placement, Refused, Started, TaskState, Why
from launcher.places.asking import ask_with_retries
from launcher.places.ec2_answers import (
    HALTED,
    SETTINGS,
    START,
    read_fleet,
    read_state,
    translate_error,
)
from launcher.places.ec2_request import CREATE_FLEET, TERMINATE, name_template
from sidecar.aws.calls import AwsError, Call, Service, TransientError, backoff
from sidecar.aws.session import CONFIG, ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import ClassVar, TypeVar

    from aiobotocore.session import AioSession

    T = TypeVar("T")

log = structlog.get_logger()

EC2 = Service("ec2", "EC2", "instance")
SETTING = "launch_template"
TRIES = 5
"""Of one call, with growing pauses; a request is repeated with its client token."""
START_TIMEOUT = 45.0
"""Seconds for one call that starts a machine: a fleet answers when it knows of a machine."""
DESCRIBED = 200
"""Values of one filter."""
CHECKED_FOR = 60.0
"""Seconds for which a launch template is known to end its machines; `$Latest` may change."""
CONSOLE_LINES, CONSOLE_WIDTH = 15, 300
"""The last lines of a console that are shown, and their characters."""
EXIT_LINE = re.compile(r"runner-machine: the agent has ended with exit code (\d{1,3})")
"""How the user data says on the console what the agent ended with."""
GONE = ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")
NO_LATEST = ("UnsupportedOperation", "InvalidParameterCombination", "InvalidParameterValue")
MISMATCH = "IdempotentParameterMismatch"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\t -\U0010ffff]|[\x7f-\x9f]")


class Ec2(ServiceClient):
    """A client of EC2. Every call raises AwsError, in one of its kinds."""

    config: ClassVar[AioConfig] = CONFIG.merge(AioConfig(read_timeout=START_TIMEOUT - 5))

    def __init__(
        self,
        region: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        make_session: Callable[[], AioSession] | None = None,
    ) -> None:
        super().__init__(EC2, region, make_session)
        self._clock = clock
        self._checked: dict[str, float] = {}
        """Launch templates that end their machines, and when that was seen."""

    # -- start -------------------------------------------------------------------------------

    async def start(self, request: dict[str, Any]) -> Placement:
        """Send a request of `Machine.make_request`; safe to send again.

        Raises TransientError if its outcome is not known: then send the same request again.
        """
        operation, wanted = request["Operation"], request["Parameters"]
        try:
            return await ask_with_retries(lambda: self._start_once(operation, wanted), TRIES)
        except Mismatch as error:
            return Later(Why.CAPACITY, str(error))

    async def _start_once(self, operation: str, wanted: Mapping[str, Any]) -> Placement:
        if (found := await self._find_started(wanted["ClientToken"])) is not None:
            return Started(found, adopted=True)
        if operation == CREATE_FLEET and (refusal := await self._check_template(wanted)):
            return refusal
        call = Call(START, EC2, f"ec2:{operation}", SETTING)
        return await call.run(lambda: self._send(operation, wanted), START_TIMEOUT)

    async def _send(self, operation: str, wanted: Mapping[str, Any]) -> Placement:
        client = await self.connect()
        try:
            if operation == CREATE_FLEET:
                return read_fleet(await client.create_fleet(**wanted))
            answer = await client.run_instances(**wanted)
        except ClientError as error:
            return _translate(error, f"ec2:{operation}")
        return Started(answer["Instances"][0]["InstanceId"])

    async def _find_started(self, token: str) -> str | None:
        """Find the machine that an earlier call with this client token has started."""
        filters = [_tag_filter(identity.CLIENT_TOKEN_TAG, token)]
        found = await self._describe_once("cannot look for an earlier machine", filters)
        found.sort(key=lambda each: (read_state(each).ended, str(each.get("LaunchTime", ""))))
        return str(found[0]["InstanceId"]) if found else None

    async def _check_template(self, wanted: Mapping[str, Any]) -> Refused | None:
        """Refuse a launch template whose machines would only stop: a fleet cannot say it itself."""
        template = name_template(wanted)
        if template is None:
            return None
        key = "/".join(sorted(template.values()))
        if self._clock() - self._checked.get(key, -CHECKED_FOR) < CHECKED_FOR:
            return None
        version = template.pop("Version", "$Default")
        permission = "ec2:DescribeLaunchTemplateVersions"

        async def read() -> dict[str, Any] | Refused:
            client = await self.connect()
            try:
                found = await client.describe_launch_template_versions(
                    **template, Versions=[version]
                )
            except ClientError as error:
                if isinstance(refusal := _translate(error, permission), Refused):
                    return refusal
                raise
            versions = found["LaunchTemplateVersions"]
            return dict(versions[0]["LaunchTemplateData"]) if versions else {}

        data = await Call("cannot read the launch template", EC2, permission, SETTING).run(read)
        if isinstance(data, Refused):
            return data
        if data.get("InstanceInitiatedShutdownBehavior") != TERMINATE:
            return Refused(
                f"{START}: the launch template must have InstanceInitiatedShutdownBehavior = "
                f"{TERMINATE}, else its machines stay when they shut down ({SETTING})"
            )
        self._checked[key] = self._clock()
        return None

    # -- look, stop, find --------------------------------------------------------------------

    async def look(self, tasks: Sequence[str]) -> dict[str, TaskState]:
        """Describe machines, by id; those that EC2 does not know (yet, or any more) are left out.

        One that somebody has only stopped never runs again, so it is terminated now.
        """
        instances: list[dict[str, Any]] = []
        for first in range(0, len(tasks), DESCRIBED):
            filters = [{"Name": "instance-id", "Values": list(tasks[first : first + DESCRIBED])}]
            instances += await self._describe("cannot look at the machines", filters)
        for each in instances:
            if each["State"]["Name"] in HALTED:
                await self.stop(each["InstanceId"], "it was stopped, and never runs again")
        states = [read_state(each) for each in instances]
        return {state.task: await self._add_exit_code(state) for state in states}

    async def _add_exit_code(self, state: TaskState) -> TaskState:
        """Read the agent's exit code from the console of a machine that has ended."""
        if not state.ended:
            return state
        try:
            lines = (await self._read_console(state.task, latest=False)).splitlines()
        except AwsError as error:
            log.warning("console.unread", machine=state.task, reason=str(error))
            return state
        codes = [int(found[1]) for line in lines if (found := EXIT_LINE.search(line))]
        code = codes[-1] if codes else None
        return TaskState(state.task, state.status, state.stopping, code, state.reason)

    async def stop(self, task: str, reason: str) -> None:
        """Terminate a machine; one that has ended, or is not known any more, is no error."""

        async def stop() -> None:
            client = await self.connect()
            try:
                await client.terminate_instances(InstanceIds=[task])
            except ClientError as error:
                if _code(error) not in GONE:
                    raise

        await self._call(f"cannot end {task}", "ec2:TerminateInstances", stop)
        log.info("machine.terminated", machine=task, reason=reason)

    async def find(self, started_by: str) -> list[str]:
        """List the machines of an order that have not ended."""
        order = identity.launch_of_order(started_by) or started_by
        filters = [_tag_filter(identity.REQUEST_TAG, order)]
        found = await self._describe("cannot list the machines", filters)
        return [each["InstanceId"] for each in found if not read_state(each).ended]

    async def read_console(self, task: str) -> list[str]:
        """Return the last lines of a machine's console, as far as EC2 has them."""
        try:
            text = await self._read_console(task, latest=True)
        except NoLatestConsole:  # only newer types show it while they run
            text = await self._read_console(task, latest=False)
        lines = [_CONTROL.sub("", line).rstrip()[:CONSOLE_WIDTH] for line in text.splitlines()]
        return [line for line in lines if line][-CONSOLE_LINES:]

    async def _read_console(self, task: str, *, latest: bool) -> str:
        async def read() -> str:
            client = await self.connect()
            try:
                more = {"Latest": True} if latest else {}
                answer = await client.get_console_output(InstanceId=task, **more)
            except ClientError as error:
                if _code(error) in GONE:
                    return ""
                if latest and _code(error) in NO_LATEST:
                    raise NoLatestConsole(str(error)) from error
                raise
            return str(answer.get("Output") or "")

        action = f"cannot read the console of {task}"
        return await self._call(action, "ec2:GetConsoleOutput", read)

    async def _describe(self, action: str, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return await call_with_retries(
            lambda: self._describe_once(action, filters), backoff(), tries=TRIES
        )

    async def _describe_once(
        self, action: str, filters: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        async def describe() -> list[dict[str, Any]]:
            client = await self.connect()
            # By filter: of ids that are asked for by name, one that is not known fails them all.
            pages = client.get_paginator("describe_instances").paginate(Filters=filters)
            return [
                instance
                async for page in pages
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ]

        return await Call(action, EC2, "ec2:DescribeInstances", SETTING).run(describe)

    async def _call(self, action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
        call = Call(action, EC2, permission, SETTING, SETTINGS)
        return await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)


class Mismatch(TransientError):
    """EC2 knows the client token with other parameters, and shows no machine of it (yet)."""


class NoLatestConsole(AwsError):
    """EC2 shows the console of this type only after the machine's state has changed."""


def _translate(error: ClientError, permission: str) -> Placement:
    """Translate what an error means for a start, or raise it for what all calls have in common."""
    code, text = _code(error), str(error.response.get("Error", {}).get("Message", ""))
    if code == MISMATCH:  # the next try may find its machine by its tag
        raise Mismatch(f"{START}: {code}: {text[:300]}") from error
    found = translate_error(code, text, permission)
    if found is None or (isinstance(found, Later) and found.why is Why.THROTTLE):
        raise error
    return found


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _tag_filter(key: str, value: str) -> dict[str, Any]:
    return {"Name": f"tag:{key}", "Values": [value]}
