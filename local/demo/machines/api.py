"""Run the demo of the API: a job's token, an order, a machine in another account, nothing left."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from local import aws, launches, oidc, programs, sts
from local.demo import verdict as verdicts
from local.demo.launch.scenario import STEPS
from local.demo.machines import verdict, watching
from local.demo.machines.endings import DONE
from local.demo.machines.scenario import describe_space
from local.demo.machines.stage import POOL, open_stage
from local.demo.verdict import Check, list_all
from local.github import payloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from local.agent import AgentProcess
    from local.demo.machines.stage import MachineStage
    from local.demo.timeline import Timeline

ACCOUNT = "210987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/runners"
EXTERNAL_ID = "an-external-id"
NUMBER = payloads.number_of(launches.REPOSITORY)
CALLER = f"""
[[caller]]
name = "octo"
repositories = [{NUMBER}]
events = ["push"]
pools = ["machines"]
account = "{ACCOUNT}"
role = "{ROLE}"
external_id = "{EXTERNAL_ID}"
"""
LABELS = ["machine", "run-7"]
LOOK = 1.0
"""Seconds between two questions of a caller; the API's answer tells of no other moment."""


class Caller:
    """A job that calls the API with GitHub's token."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeline: Timeline) -> None:
        self._session = session
        self._url = url
        self._timeline = timeline
        self.token = ""
        self.answers: list[tuple[str, int]] = []
        """The requests, and the status of each answer."""

    async def take_token(self, variables: dict[str, str]) -> None:
        """Ask GitHub for a token, as a job does that has `id-token: write`."""
        url = f"{variables['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience=runner-launcher"
        head = {"Authorization": f"bearer {variables['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
        async with self._session.get(url, headers=head) as found:
            self.token = (await found.json())["value"]
        self._timeline.done("workflow", "has asked GitHub for a token that says who it is")

    async def ask(self, path: str, token: str = "", **document: Any) -> tuple[int, dict[str, Any]]:
        """Ask the API; return status and document."""
        head = {"Authorization": f"Bearer {token or self.token}"}
        async with self._session.post(f"{self._url}{path}", json=document, headers=head) as found:
            self.answers.append((path, found.status))
            return found.status, await found.json()

    async def follow(self, order: str, wanted: tuple[str, ...]) -> str:
        """Ask how far an order is, until it is as far as wanted; show each change."""
        before = ""
        while True:
            _, found = await self.ask("/state", id=order)
            state = str(found.get("state", found))
            if state != before:
                self._timeline.done("workflow", f"asks /state: {state}")
            if state in wanted:
                return state
            before = state
            await asyncio.sleep(LOOK)


async def run(timeline: Timeline) -> tuple[list[Check], AgentProcess | None]:
    """Show it; returns what was verified, and the API's process with its log."""
    with timeline.live():
        timeline.begin("stage", "demo", "starts stand-ins for AWS, EC2 and GitHub")
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            moto = stack.enter_context(programs.run("-m", "local.aws", env=os.environ))
            stage = await enter(open_stage(moto))
            issuer, roles = await enter(oidc.serving()), await enter(sts.serving(moto))
            _add_account(stage, roles)
            stage.other = await asyncio.to_thread(aws.assume_role, moto, ROLE, "demo")
            timeline.done("demo", "has started stand-ins for AWS, EC2 and GitHub", "stage")
            timeline.begin("launcher", "launcher", "starts: the API")
            (process, url), _ = await asyncio.gather(
                enter(stage.api(issuer.url)), stage.machines.prepare()
            )
            timeline.done("launcher", "listens for callers", "launcher")
            timeline.done("demo", describe_space(stage))
            caller = await enter(_call(url, timeline))
            checks = await _play(stage, issuer, roles, caller, timeline)
        left = [str(stage.folder)] if stage.folder.exists() else []
        files = Check("files of the demo", verdicts.NOTHING, list_all(left), left=True)
    return [*checks, files], process


def _add_account(stage: MachineStage, roles: sts.Sts) -> None:
    """Make the other account, with a role that the launcher may assume."""
    roles.add(ROLE, EXTERNAL_ID)
    stage.sts = roles.url
    stage.ec2.find_account = roles.find_account
    stage.pools.write_text(
        POOL.replace('["machine"]', '["machine"]\npatterns = ["run-*"]') + CALLER
    )


@asynccontextmanager
async def _call(url: str, timeline: Timeline) -> AsyncIterator[Caller]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Caller(session, url, timeline)


async def _play(
    stage: MachineStage,
    issuer: oidc.Issuer,
    roles: sts.Sts,
    caller: Caller,
    timeline: Timeline,
) -> list[Check]:
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watching.watch(stage, timeline))
        await caller.take_token(issuer.admit(repository=launches.REPOSITORY, repository_id=NUMBER))
        stranger = issuer.mint(repository="mallory/repo", repository_id=NUMBER + 1)
        refused, answer = await caller.ask("/start", stranger, labels=LABELS)
        timeline.done("demo", f"asks as somebody else: {refused}, {answer['error']}")
        started, order = await caller.ask("/start", labels=LABELS)
        timeline.done("workflow", f"asks /start: {started}, {order.get('state', order)}")
        again = await caller.ask("/start", labels=LABELS)
        timeline.done("workflow", f"asks /start again: {again[0]}, the same answer")
        await caller.follow(order["id"], ("online", "done", "ended"))
        job = stage.queue_job(*LABELS, steps=STEPS)
        timeline.done("GitHub", f"has a job that asks for {', '.join(LABELS)}")
        await stage.github.world.changes.until(lambda: job.state == "completed" or None, 3600)
        await stage.ec2.wait_for(lambda: not stage.ec2.living(), 3600)
        state = await caller.follow(order["id"], ("done", "ended"))
        timeline.begin("verify", "demo", "looks at what is left")
        statuses = f"{refused}, {started}, {again[0]}"
        checks = [
            Check("a stranger, the caller, the same again", "403, 200, 200", statuses),
            Check("the same again gave", "the same answer", _compare(order, again[1])),
            Check("the order is at last", "done", state),
            *_verify(stage, roles),
            *verdict.check_job(stage, job),
            verdict.check_secrets(stage),
            *await verdict.check_left(stage),
        ]
        watcher.cancel()
        timeline.done("demo", "has looked at what is left", "verify")
    return checks


def _verify(stage: MachineStage, roles: sts.Sts) -> Iterator[Check]:
    """Check where the machine was, and by which role it was started."""
    ended = [verdict.describe_end(each) for each in stage.ec2.machines]
    yield Check("the machine ended", DONE, list_all(ended))
    accounts = [each.account for each in stage.ec2.machines]
    yield Check("it belonged to the account", ACCOUNT, list_all(accounts))
    assumed = list_all(
        sorted({f"{each.role}: {each.tags.get('Repository')}" for each in roles.assumed})
    )
    yield Check("the role that was assumed, for whom", f"{ROLE}: {launches.REPOSITORY}", assumed)
    asked = len(stage.ec2.asked("RunInstances", once=True))
    yield Check("EC2 was asked to run a machine", "1 x", f"{asked} x")


def _compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    return "the same answer" if first == second else f"{second}"
