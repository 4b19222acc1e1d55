"""The task's metadata, from a real server that answers well or badly."""

import json
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from sidecar.aws import task_metadata
from sidecar.aws.task_metadata import TaskFacts, read_task_facts
from tests.support.loops import on_both, run

ARN = "arn:aws:ecs:eu-central-1:123456789012:task/cluster/0f3a"


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Wait for an answer that comes, however busy the machine is."""
    monkeypatch.setattr(task_metadata, "DEADLINE", 60.0)


@asynccontextmanager
async def metadata(status=200, body="", headers=None):
    """Answer every request so; yield the metadata URI and the paths that were requested."""
    asked = []

    async def answer(request):
        asked.append(request.path)
        return web.Response(status=status, body=body, headers=headers)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v4/x", asked
    finally:
        await runner.cleanup()


async def facts(**answer):
    """Read from a metadata endpoint that answers so."""
    async with metadata(**answer) as (uri, asked):
        found = await read_task_facts(uri)
        assert asked == ["/v4/x/task"]
        return found


@on_both
def test_the_task_s_facts_are_read(loop):
    """ARN, zone and launch type; the id is the ARN's last part."""
    body = json.dumps(
        {"TaskARN": ARN, "AvailabilityZone": "eu-central-1b", "LaunchType": "FARGATE", "More": 1}
    )
    found = run(loop, facts(body=body))
    assert found == TaskFacts(ARN, "eu-central-1b", "FARGATE")
    assert found.id == "0f3a"


@pytest.mark.parametrize("body", ["{}", '{"TaskARN": null, "LaunchType": null}'])
def test_a_missing_fact_is_empty(body):
    """EC2 tasks lack some facts, older agents others."""
    assert run("asyncio", facts(body=body)) == TaskFacts()


@pytest.mark.parametrize(
    ("containers", "modes"),
    [
        ([{"Networks": [{"NetworkMode": "awsvpc"}]}, {"Name": "without"}], {"awsvpc"}),
        ([{"Networks": [{"NetworkMode": "bridge"}, {"Other": 1}]}], {"bridge", "unknown"}),
        ([], set()),
        (None, set()),
    ],
)
def test_the_network_modes_are_read(containers, modes):
    """A missing mode is unknown: no rule may be added where the network may be shared."""
    found = run("asyncio", facts(body=json.dumps({"TaskARN": ARN, "Containers": containers})))
    assert found.network_modes == modes


@pytest.mark.parametrize("containers", [1, [1], [{"Networks": [1]}], {"a": 1}])
def test_a_malformed_answer_is_no_error(containers):
    """The facts are only shown, so nothing may fail without them."""
    assert run("asyncio", facts(body=json.dumps({"Containers": containers}))) == TaskFacts()


def test_outside_ecs_no_request_is_made():
    """Without a URI there is no warning either."""
    with capture_logs() as logs:
        assert run("asyncio", read_task_facts(None)) == TaskFacts()
    assert logs == []
    assert TaskFacts().id == ""


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "body": "{}"},
        {"status": 404},
        {"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
        {"body": "<!doctype html>"},
        {"body": ""},
        {"body": "[1]"},
        {"body": b"\xff\xfe\xff"},
    ],
)
def test_a_bad_answer_is_a_warning(answer):
    """No job waits for facts that are only shown, or fails without them."""
    with capture_logs() as logs:
        assert run("asyncio", facts(**answer)) == TaskFacts()
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("task.metadata_failed", "warning")
    ]
    assert logs[0]["reason"]


@on_both
def test_no_answer_is_a_warning(loop, monkeypatch):
    """A closed port, a broken URI, and an endpoint that hangs."""
    monkeypatch.setattr(task_metadata, "DEADLINE", 0.1)

    async def life():
        with socket.create_server(("127.0.0.1", 0)) as mute:
            port = mute.getsockname()[1]
            for uri in ("http://127.0.0.1:9/v4", "no uri", f"http://127.0.0.1:{port}"):
                assert await read_task_facts(uri) == TaskFacts()

    with capture_logs() as logs:
        run(loop, life())
    assert [log["event"] for log in logs] == ["task.metadata_failed"] * 3
