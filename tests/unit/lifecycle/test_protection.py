"""Scale-in protection, against the ECS agent's own answers: one call for each transition."""

import asyncio

import aiohttp
import pytest
from structlog.testing import capture_logs

from local import ecs_agent
from sidecar.lifecycle import protection
from sidecar.lifecycle.protection import Protection, Refused, protecting
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.loops import on_both, run

REFUSALS = [mode for mode in ecs_agent.PROTECTION if mode not in ("ready", "hang")]


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch):
    """Wait a moment for an agent that hangs."""
    monkeypatch.setattr(protection, "CALL", aiohttp.ClientTimeout(total=0.5))


def calls(agent):
    """Count what was asked."""
    return sum("task-protection" in seen.path for seen in agent.requests)


async def told(look):
    """Wait for a line of the log."""
    async with asyncio.timeout(20):
        while True:
            if look():
                return
            await asyncio.sleep(0)


def heard(logged, begin, event):
    """Look for an event among those that came after `begin`."""
    return lambda: event in [each["event"] for each in logged[begin:]]


async def life(agent, *, job=True, until=("task.protected", "task.protection_failed"), count=1):
    """Play a life with or without a job; gives the debts after it."""
    cleanup_stack, came, events = CleanupStack(), asyncio.Event(), []
    with capture_logs() as logged:
        async with protecting(agent.environment["ECS_AGENT_URI"], came, cleanup_stack):
            if job:
                came.set()
                await told(lambda: sum(event["event"] in until for event in logged) >= count)
            events.append(agent.protection_now()["ProtectionEnabled"])
        for cleanup_step in cleanup_stack.steps:
            await cleanup_step.begin()
    return events[0], logged, cleanup_stack


@on_both
def test_on_when_a_job_starts_off_after_it(loop):
    """Two transitions, two calls."""

    async def play():
        async with ecs_agent.serving() as agent:
            protected, logged, cleanup_stack = await life(agent)
            assert protected
            assert not agent.protection_now()["ProtectionEnabled"]
            assert cleanup_stack.not_done == {}
            assert calls(agent) == 2
            assert [event["event"] for event in logged] == [
                "task.protected",
                "task.protection_removed",
            ]

    run(loop, play())


def test_without_a_job_nothing_is_asked():
    """Nor without an agent to ask, as outside of ECS."""

    async def play():
        async with ecs_agent.serving() as agent:
            _, _, cleanup_stack = await life(agent, job=False)
            assert calls(agent) == 0
            assert cleanup_stack.not_done == {}
        cleanup_stack = CleanupStack()
        async with protecting(None, asyncio.Event(), cleanup_stack):
            assert cleanup_stack.steps == []

    run("asyncio", play())


def test_it_is_renewed(monkeypatch):
    """As long as the job runs; a renewal that fails is tried again, and it is still taken off."""
    monkeypatch.setattr(protection, "RENEW", 0.01)

    async def play():
        async with ecs_agent.serving() as agent:
            await life(agent, until=("task.protected",), count=3)
            assert calls(agent) >= 4

    run("asyncio", play())


@on_both
def test_a_renewal_that_fails_is_tried_again(loop, monkeypatch):
    """The task is still protected by the call before: that is not forgotten."""
    monkeypatch.setattr(protection, "RENEW", 0.01)

    async def play():
        async with ecs_agent.serving() as agent:
            cleanup_stack, came = CleanupStack(), asyncio.Event()
            with capture_logs() as logged:
                async with protecting(agent.environment["ECS_AGENT_URI"], came, cleanup_stack):
                    came.set()
                    for mode in ("ready", "throttled", "ready"):
                        agent.protection = ecs_agent.Mode(mode, None)
                        begin = len(logged)
                        wanted = "protected" if mode == "ready" else "protection_failed"
                        await told(heard(logged, begin, f"task.{wanted}"))
                await cleanup_stack.steps[0].begin()
            assert not agent.protection_now()["ProtectionEnabled"]
            assert cleanup_stack.not_done == {}

    run(loop, play())


@on_both
@pytest.mark.parametrize("mode", REFUSALS)
def test_it_fails_open(loop, mode):
    """In every way that is documented: one call, one line, nothing owed."""

    async def play():
        async with ecs_agent.serving() as agent:
            agent.protection = ecs_agent.Mode(mode, None)
            _, logged, cleanup_stack = await life(agent)
            assert calls(agent) == 1
            assert cleanup_stack.not_done == {}
            assert [event["event"] for event in logged] == ["task.protection_failed"]
            assert logged[0]["reason"]

    run(loop, play())


@on_both
@pytest.mark.parametrize("modes", ["hang", "hang, then ready"])
def test_an_answer_that_is_lost_may_have_been_a_yes(loop, modes):
    """It is taken off all the same; where that hangs too, nobody knows of a protection."""

    async def play():
        async with ecs_agent.serving() as agent:
            agent.protection = ecs_agent.Mode("hang", 1 if "ready" in modes else None)
            _, logged, cleanup_stack = await life(agent)
            assert calls(agent) == 2
            assert cleanup_stack.not_done == {}
            last = "protection_removed" if "ready" in modes else "protection_failed"
            assert [event["event"] for event in logged] == [
                "task.protection_failed",
                f"task.{last}",
            ]

    run(loop, play())


def test_a_protection_that_cannot_be_lifted_is_told():
    """It was on: the service cannot scale in this task for two hours, which is left behind."""

    async def play():
        async with ecs_agent.serving() as agent:
            cleanup_stack, came = CleanupStack(), asyncio.Event()
            async with protecting(agent.environment["ECS_AGENT_URI"], came, cleanup_stack):
                with capture_logs() as logged:
                    came.set()
                    await told(lambda: logged)
                agent.protection = ecs_agent.Mode("throttled", None)
            await cleanup_stack.steps[0].begin()
            assert cleanup_stack.not_done == {"protection": "ThrottlingException: Rate exceeded"}

    run("asyncio", play())


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"5", b"{}", b'{"error": "x"}', b"<html>", b"\xff"]
)
def test_an_answer_of_another_shape_is_a_refusal(body):
    """Never an error of ours."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def play():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            with pytest.raises(Refused):
                await Protection(f"http://{host}:{port}")._put({"ProtectionEnabled": True})

    run("asyncio", play())
