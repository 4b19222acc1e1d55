"""Make the token of one runner, write it to its task's own parameter, delete it again.

The token is a just-in-time configuration, or JSON with a registration token and all that the agent
needs beside it. The pool's policy goes with it: the agent's started hook compares each job with it.
It stands nowhere but in the parameter: in no override, tag, output or log.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from launcher import identity
from launcher.groups import find_group
from sidecar import github
from sidecar.aws import sealing
from sidecar.aws.calls import SSM, Call, NotFound, RateLimited, backoff
from sidecar.aws.session import ServiceClient
from sidecar.github.api import backoff as github_backoff
from sidecar.log import masks
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeVar

    from aiobotocore.session import AioSession

    T = TypeVar("T")

TRIES = 6
"""Of one call, with growing pauses."""
REUSED = 30 * 60.0
"""Seconds for which one registration token serves many runners; GitHub accepts it for an hour."""
STANDARD = 4096
"""Characters of a Standard parameter; a longer one is Advanced, which costs money."""
WORK_DIR = "_work"
TOKEN_OF = "runner-launcher: token of"  # noqa: S105  it is no secret
"""How the description of a token's parameter begins."""
DELETED = 10
"""Parameters that one call deletes."""


@dataclass(frozen=True, slots=True)
class RunnerToken:
    """The token of one runner, as it is written for it."""

    text: str = field(repr=False)
    runner_id: int | None = None
    """GitHub's number of a runner that is registered by this already (just in time)."""

    def seal(self, key: str, task: str) -> RunnerToken:
        """Return the token as only the task's own agent can read it."""
        masks.hide(self.text)
        return replace(self, text=sealing.seal(self.text, key, identity.task_id(task)))


class TokenMaker:
    """Makes tokens for the runners of one scope, one set of labels and one policy.

    `policy` is what `Access.to_policy` returns; None lets the runner take every job. `patience` is
    for how many seconds GitHub may want no requests; if it wants more, RateLimited is raised.
    """

    def __init__(
        self,
        connection: github.Connection,
        labels: tuple[str, ...],
        *,
        group: str | None = None,
        just_in_time: bool = True,
        policy: Mapping[str, Any] | None = None,
        patience: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._labels = labels
        self._group = group
        self._just_in_time = just_in_time
        self._policy = policy
        self._patience = patience
        self._clock = clock
        self._held: tuple[str, float] | None = None
        self._making = asyncio.Lock()
        self._group_number: int | None = None

    async def make(self, name: str, *, keep: bool = False) -> RunnerToken:
        """Make the token of the runner `name`; `keep`: its agent leaves it to us to delete it.

        Raises github.NameTaken where a runner of that name exists: an earlier answer was lost.
        """
        runners = await self._connection.runners()
        if self._just_in_time:
            if self._group_number is None:
                self._group_number = await find_group(self._connection, self._group)
            group = self._group_number
            made = await self._ask(
                lambda: runners.create_jit_config(name, self._labels, group, WORK_DIR, tries=1)
            )
            return RunnerToken(self._wrap(made.blob, keep=keep), made.runner_id)
        document = {
            "url": self._connection.url,
            "token": await self._registration_token(runners),
            "name": name,
            "labels": list(self._labels),
            "no_default_labels": True,
            **({"group": self._group} if self._group else {}),
            **self._more(keep=keep),
        }
        return RunnerToken(json.dumps(document))

    def _wrap(self, blob: str, *, keep: bool) -> str:
        """Return a just-in-time configuration with what goes with it; alone it stays as it is."""
        more = self._more(keep=keep)
        return json.dumps({"jit_config": blob, **more}, separators=(",", ":")) if more else blob

    def _more(self, *, keep: bool) -> dict[str, Any]:
        policy = {"policy": self._policy} if self._policy is not None else {}
        return {**policy, **({"keep": True} if keep else {})}

    async def _registration_token(self, runners: github.Runners) -> str:
        async with self._making:  # many at once get one token
            now = self._clock()
            if self._held is None or now - self._held[1] > REUSED:
                made = await self._ask(lambda: runners.create_registration_token(tries=1))
                self._held = (made.secret, now)
            return self._held[0]

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask GitHub, and again after what may pass soon."""
        pause_after, tries = github_backoff(), 0

        def pause(error: Exception) -> bool | float:
            if isinstance(error, github.RateLimited):
                seconds = math.inf if error.seconds is None else error.seconds
                if seconds > self._patience:
                    return False
            return pause_after(error)

        async def once() -> T:
            nonlocal tries
            tries += 1
            try:
                return await call()
            except github.GitHubError as error:
                error.tries = tries
                raise

        return await call_with_retries(once, pause, tries=TRIES)


class TokenStore(ServiceClient):
    """The token parameters in SSM. Every call raises AwsError, in one of its kinds."""

    def __init__(
        self,
        prefix: str,
        region: str | None = None,
        make_session: Callable[[], AioSession] | None = None,
    ) -> None:
        super().__init__(SSM, region, make_session)
        self._prefix = prefix

    def name(self, task: str) -> str:
        """Return the name of a task's parameter."""
        return identity.parameter_name(self._prefix, task)

    async def write(
        self,
        task: str,
        token: RunnerToken,
        tags: dict[str, str],
        is_used: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Write the token of a task, tagged; one of an earlier generation is replaced.

        Returns whether it may have been written twice, and be there after its agent has deleted it.

        `is_used` says whether the task's runner is online. If an answer was lost it is asked before
        the token is written again: the agent may have read and deleted it, and would not delete
        a second one. A call that SSM throttled has done nothing, so it is just made again.
        """
        masks.hide(token.text)
        may_be_lost = repeated = False

        async def write_once() -> None:
            nonlocal may_be_lost, repeated
            if may_be_lost and (await self.exists(task) or await is_used()):
                return
            repeated = may_be_lost
            try:
                await self._write_once(task, token, tags)
            except RateLimited:
                raise
            except Exception:
                may_be_lost = True
                raise

        await call_with_retries(write_once, backoff(), tries=TRIES)
        return repeated

    async def _write_once(self, task: str, token: RunnerToken, tags: dict[str, str]) -> None:
        name = self.name(task)
        wanted = {
            "Name": name,
            "Value": token.text,
            "Type": "SecureString",
            "Description": describe_token(task, tags.get(identity.SCOPE_TAG)),
            "Tier": "Standard" if len(token.text.encode()) <= STANDARD else "Advanced",
        }
        all_tags = {**tags, identity.TASK_TAG: identity.task_id(task)}
        tagged = [{"Key": key, "Value": value} for key, value in sorted(all_tags.items())]

        async def write() -> None:
            client = await self.connect()
            try:
                await client.put_parameter(**wanted, Tags=tagged)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ParameterAlreadyExists":
                    raise
                # SSM refuses tags and overwriting together; the tags are there already.
                await client.put_parameter(**wanted, Overwrite=True)

        await _make_call(f"cannot write the token parameter {name}", "ssm:PutParameter").run(write)

    async def exists(self, task: str) -> bool:
        """Whether a token is there for the task, unread or not yet deleted."""
        name = self.name(task)

        async def read() -> bool:
            client = await self.connect()
            await client.get_parameter(Name=name, WithDecryption=False)
            return True

        try:
            action = f"cannot look at the token parameter {name}"
            return await self._call(action, "ssm:GetParameter", read)
        except NotFound:
            return False

    async def delete(self, task: str) -> bool:
        """Delete the token of a task; False if there was none."""
        name = self.name(task)

        async def delete() -> bool:
            client = await self.connect()
            await client.delete_parameter(Name=name)
            return True

        try:
            action = f"cannot delete the token parameter {name}"
            return await self._call(action, "ssm:DeleteParameter", delete)
        except NotFound:
            return False

    async def delete_many(self, tasks: Sequence[str]) -> None:
        """Delete the tokens of several tasks, ten with each call; one that is gone is no error."""
        names = [self.name(task) for task in tasks]
        for first in range(0, len(names), DELETED):
            batch = names[first : first + DELETED]

            async def delete(batch: list[str] = batch) -> None:
                client = await self.connect()
                await client.delete_parameters(Names=batch)

            action = f"cannot delete {len(batch)} token parameters, as {batch[0]}"
            await self._call(action, "ssm:DeleteParameters", delete)

    async def find_tasks(self, request: str) -> list[str]:
        """List the ids of the tasks of a request whose tokens are still there."""

        async def find() -> list[str]:
            client = await self.connect()
            tagged = {"Key": f"tag:{identity.REQUEST_TAG}", "Values": [request]}
            pages = client.get_paginator("describe_parameters").paginate(ParameterFilters=[tagged])
            return [
                found["Name"].rpartition("/")[2]
                async for page in pages
                for found in page["Parameters"]
            ]

        return await self._call("cannot look for token parameters", "ssm:DescribeParameters", find)

    async def _call(self, action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
        call = _make_call(action, permission)
        return await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)


def describe_token(task: str, scope: str | None) -> str:
    """Write what a token's parameter says of itself: its task or machine, and its runner's scope.

    A listing of parameters shows it, and not their tags.
    """
    return " ".join(filter(None, (TOKEN_OF, task, scope)))


def read_description(text: str) -> tuple[str, str] | None:
    """Read what `describe_token` wrote: task or machine, and scope; None where it was not that."""
    if not text.startswith(f"{TOKEN_OF} "):
        return None
    task, _, scope = text.removeprefix(f"{TOKEN_OF} ").partition(" ")
    return task, scope


def _make_call(action: str, permission: str) -> Call:
    """Make a call whose errors show nothing of AWS's text: it may quote the value."""
    setting = "LAUNCHER_PARAMETER_PREFIX"
    return Call(action, SSM, permission, setting, REFUSALS, quotes_aws=False)


REFUSALS: dict[str, str] = {
    "ParameterLimitExceeded": (
        "SSM holds as many parameters as the account may have (quota: 10,000 Standard parameters)"
    ),
    "ParameterMaxVersionLimitExceeded": "it has too many versions",
}
