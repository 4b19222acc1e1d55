"""`runner-sidecar containers`: what the agent says of the job's containers."""

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.cli import containers
from sidecar.relay.protocol import deny
from sidecar.status.health_server import serve_health
from sidecar.status.report import Report
from sidecar.values import Address
from tests.support.upstream import RelayCore

ROLE = "arn:aws:iam::123456789012:role/task"


async def ask(report, capsys, **environ):
    """Serve a report, and call the command; return its exit code and its output."""
    async with AsyncExitStack() as serving:
        with capture_logs() as logs:
            await serving.enter_async_context(serve_health(Address("127.0.0.1", 0), report))
        (started,) = logs
        address = f"127.0.0.1:{started['port']}"
        code = await asyncio.to_thread(containers.main, [address], environ)
    return code, capsys.readouterr().out


def test_each_container_is_listed_with_rule_and_role(capsys):
    """Without its path, which is a secret."""
    core = RelayCore()
    core.identities.set_job("octo/repo run 5 attempt 1 job build", "main")
    first = core.identities.mint(rule="db")
    core.identities.assign(first, "a" * 64, ["172.17.0.2"])
    second = core.identities.mint(refusal=deny("none"), rule="nothing")
    core.identities.assign(second, "b" * 64, [])
    core.identities.suspend("b" * 64)
    core.identities.assign(core.identities.mint(), "c" * 64, ["172.17.0.4"])
    report = Report()
    report.relay = SimpleNamespace(identities=core.identities)
    code, output = asyncio.run(ask(report, capsys))
    assert code == 0
    assert output.splitlines() == [
        "job: octo/repo run 5 attempt 1 job build, by main",
        f"{'a' * 12}  {ROLE}  by db  172.17.0.2",
        f"{'b' * 12} (stopped)  no credentials  by nothing  address not known",
        f"{'c' * 12}  {ROLE}  by main  172.17.0.4",
    ]
    assert first not in output


def test_without_a_relay_nothing_is_listed(capsys):
    """The job has no credentials of the agent's."""
    assert asyncio.run(ask(Report(), capsys)) == (0, "job: not known, by no rule\n")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "x", "127.0.0.1:x"])
def test_an_agent_that_does_not_answer_is_said(capsys, address):
    """With the setting to change."""
    assert containers.main([address], {}) == 1
    assert f"cannot ask the agent at {address} (SIDECAR_HEALTH_ADDRESS)" in capsys.readouterr().err
