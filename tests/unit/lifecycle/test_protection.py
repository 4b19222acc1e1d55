"""Scale-in protection, against the ECS agent's documented answers: one call per transition."""

import asyncio

import aiohttp
import pytest
from structlog.testing import capture_logs

from local import ecs_agent
from sidecar.aws import task_protection
from sidecar.lifecycle import protection
from sidecar.lifecycle.protection import protect_while_busy
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.loops import on_both, run

REFUSALS = [mode for mode in ecs_agent.PROTECTION if mode not in ("ready", "hang")]


@pytest.fixture(autouse=True)
def set_deadline(monkeypatch):
    """Wait long for an ECS agent that answers; give what sets another deadline."""

    def set_(seconds):
        monkeypatch.setattr(task_protection, "CALL", aiohttp.ClientTimeout(total=seconds))

    set_(60)
    return set_


def count_calls(agent):
    """Count the calls of the protection API."""
    return sum("task-protection" in seen.path for seen in agent.requests)


async def wait_until(look):
    """Wait until `look` is true."""
    async with asyncio.timeout(60):
        while True:
            if look():
                return
            await asyncio.sleep(0)


def is_logged(logged, begin, event):
    """Make a look for an event among those after `begin`."""
    return lambda: event in [each["event"] for each in logged[begin:]]


async def life(
    agent,
    *,
    job=True,
    until=("task.protected", "task.protection_failed"),
    count=1,
    then=lambda: None,
):
    """Play a life with or without a job; return whether it was protected, events and steps.

    `then` is called before its end.
    """
    cleanup_stack, job_came, events = CleanupStack(), asyncio.Event(), []
    with capture_logs() as logged:
        async with protect_while_busy(agent.environment["ECS_AGENT_URI"], job_came, cleanup_stack):
            if job:
                job_came.set()
                await wait_until(lambda: sum(event["event"] in until for event in logged) >= count)
            events.append(agent.protection_now()["ProtectionEnabled"])
            then()
        for cleanup_step in cleanup_stack.steps:
            await cleanup_step.begin()
    return events[0], logged, cleanup_stack


@on_both
def test_the_task_is_protected_while_a_job_runs(loop):
    """Two transitions, two calls."""

    async def play():
        async with ecs_agent.serving() as agent:
            protected, logged, cleanup_stack = await life(agent)
            assert protected
            assert not agent.protection_now()["ProtectionEnabled"]
            assert cleanup_stack.not_done == {}
            assert count_calls(agent) == 2
            assert [event["event"] for event in logged] == [
                "task.protected",
                "task.protection_removed",
            ]

    run(loop, play())


def test_without_a_job_nothing_is_called():
    """Nor without an ECS agent, as outside of ECS."""

    async def play():
        async with ecs_agent.serving() as agent:
            _, _, cleanup_stack = await life(agent, job=False)
            assert count_calls(agent) == 0
            assert cleanup_stack.not_done == {}
        cleanup_stack = CleanupStack()
        async with protect_while_busy(None, asyncio.Event(), cleanup_stack):
            assert cleanup_stack.steps == []

    run("asyncio", play())


def test_it_is_renewed(monkeypatch):
    """As long as the job runs; it is removed at the end."""
    monkeypatch.setattr(protection, "RENEW", 0.01)

    async def play():
        async with ecs_agent.serving() as agent:
            await life(agent, until=("task.protected",), count=3)
            assert count_calls(agent) >= 4

    run("asyncio", play())


@on_both
def test_a_renewal_that_fails_is_tried_again(loop, monkeypatch):
    """The task is still protected by the call before, and the protection is removed at the end."""
    monkeypatch.setattr(protection, "RENEW", 0.01)

    async def play():
        async with ecs_agent.serving() as agent:
            cleanup_stack, job_came = CleanupStack(), asyncio.Event()
            with capture_logs() as logged:
                async with protect_while_busy(
                    agent.environment["ECS_AGENT_URI"], job_came, cleanup_stack
                ):
                    job_came.set()
                    for mode in ("ready", "throttled", "ready"):
                        agent.protection = ecs_agent.Mode(mode, None)
                        begin = len(logged)
                        wanted = "protected" if mode == "ready" else "protection_failed"
                        await wait_until(is_logged(logged, begin, f"task.{wanted}"))
                await cleanup_stack.steps[0].begin()
            assert not agent.protection_now()["ProtectionEnabled"]
            assert cleanup_stack.not_done == {}

    run(loop, play())


@on_both
@pytest.mark.parametrize("mode", REFUSALS)
def test_it_fails_open(loop, mode):
    """For every documented failure: one call, one event, nothing left to clean up."""

    async def play():
        async with ecs_agent.serving() as agent:
            agent.protection = ecs_agent.Mode(mode, None)
            _, logged, cleanup_stack = await life(agent)
            assert count_calls(agent) == 1
            assert cleanup_stack.not_done == {}
            assert [event["event"] for event in logged] == ["task.protection_failed"]
            assert logged[0]["reason"]

    run(loop, play())


@on_both
@pytest.mark.parametrize("modes", ["hang", "hang, then ready"])
def test_after_a_lost_answer_the_protection_is_removed(loop, modes, set_deadline):
    """The call may have succeeded. If the removal gets no answer either, no step fails."""
    set_deadline(3)  # within which a busy machine, too, gets the call to the ECS agent

    def wait_for_an_answer():
        if "ready" in modes:
            set_deadline(60)

    async def play():
        async with ecs_agent.serving() as agent:
            agent.protection = ecs_agent.Mode("hang", 1 if "ready" in modes else None)
            _, logged, cleanup_stack = await life(agent, then=wait_for_an_answer)
            assert count_calls(agent) == 2
            assert cleanup_stack.not_done == {}
            last = "protection_removed" if "ready" in modes else "protection_failed"
            assert [event["event"] for event in logged] == [
                "task.protection_failed",
                f"task.{last}",
            ]

    run(loop, play())


def test_a_protection_that_cannot_be_removed_is_a_failed_step():
    """The service cannot stop this task for up to two hours."""

    async def play():
        async with ecs_agent.serving() as agent:
            cleanup_stack, job_came = CleanupStack(), asyncio.Event()
            async with protect_while_busy(
                agent.environment["ECS_AGENT_URI"], job_came, cleanup_stack
            ):
                with capture_logs() as logged:
                    job_came.set()
                    await wait_until(lambda: logged)
                agent.protection = ecs_agent.Mode("throttled", None)
            await cleanup_stack.steps[0].begin()
            assert cleanup_stack.not_done == {"protection": "ThrottlingException: Rate exceeded"}

    run("asyncio", play())
