"""The ECS agent's task protection API: what is sent, and every documented answer."""

import aiohttp
import pytest

from local import ecs_agent
from sidecar.aws import task_protection
from sidecar.aws.task_protection import NoAnswer, ProtectionError, protect_task, unprotect_task
from tests.support.loops import on_both, run
from tests.support.servers import serving

REFUSALS = [mode for mode in ecs_agent.PROTECTION if mode not in ("ready", "hang")]


@on_both
def test_a_task_is_protected_and_unprotected(loop):
    """Each by one call."""

    async def play():
        async with ecs_agent.serving() as agent:
            uri = agent.environment["ECS_AGENT_URI"]
            await protect_task(uri, 60)
            assert agent.protection_now()["ProtectionEnabled"]
            await unprotect_task(uri)
            assert not agent.protection_now()["ProtectionEnabled"]

    run(loop, play())


@pytest.mark.parametrize("mode", REFUSALS)
def test_a_refusal_is_an_error_with_its_reason(mode):
    """It is no lost answer: the caller knows that nothing changed."""

    async def play():
        async with ecs_agent.serving() as agent:
            agent.protection = ecs_agent.Mode(mode, None)
            with pytest.raises(ProtectionError) as refused:
                await protect_task(agent.environment["ECS_AGENT_URI"], 60)
            assert str(refused.value)

    run("asyncio", play())


def test_a_call_without_an_answer_is_told_apart(monkeypatch):
    """The ECS agent may have done it."""
    monkeypatch.setattr(task_protection, "CALL", aiohttp.ClientTimeout(total=0.2))

    async def play():
        async with ecs_agent.serving() as agent:
            agent.protection = ecs_agent.Mode("hang", None)
            with pytest.raises(NoAnswer):
                await protect_task(agent.environment["ECS_AGENT_URI"], 60)

    run("asyncio", play())


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"5", b"{}", b'{"error": "x"}', b"<html>", b"\xff"]
)
def test_an_answer_of_another_shape_is_a_refusal(body):
    """Nothing of another kind is raised."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def play():
        async with serving(answer) as server:
            host, port = server.sockets[0].getsockname()
            with pytest.raises(ProtectionError):
                await protect_task(f"http://{host}:{port}", 60)

    run("asyncio", play())
