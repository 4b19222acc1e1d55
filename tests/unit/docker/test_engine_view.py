"""The engine is asked for the agent's files without making a container."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from sidecar.docker.engine import Engine, EngineError
from sidecar.docker.engine_view import find_existing, sees_folder, wait_until_seen
from tests.support.servers import serving
from tests.unit.docker.fakes import (
    CREATED,
    ID,
    NO_IMAGE,
    answer_probe,
    read_request,
    response,
    run_bounded,
)


@asynccontextmanager
async def run_engine(folder, answer):
    """Run a fake engine that gives `answer(body)` to a create; yield it and its requests."""
    requests = []

    async def on_client(reader, writer):
        head, body = await read_request(reader)
        requests.append(b" ".join(head.split()[:2]).decode())
        writer.write(answer(body) if head.startswith(b"POST") else response(200))
        writer.close()

    async with serving(on_client, folder / "engine.sock"):
        yield Engine(f"unix://{folder}/engine.sock"), requests


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda body: answer_probe(body, "/"), True),
        (lambda body: answer_probe(body, "/nowhere"), False),
        (lambda _: response(404, NO_IMAGE), None),
        (lambda _: response(403, b'{"message":"a policy"}'), None),
        (lambda _: response(201, CREATED), None),
    ],
    ids=["seen", "unseen", "not told", "refused", "made"],
)
def test_a_folder_is_seen_if_what_the_agent_writes_is_there(tmp_path, answer, expected):
    """An engine that takes any source for a mount tells nothing. No file and no container stays."""
    folder = tmp_path / "folder"
    folder.mkdir()

    async def scenario():
        async with run_engine(tmp_path, answer) as (engine, requests):
            assert await sees_folder(engine, folder) is expected
            removals = [one for one in requests if one.startswith("DELETE")]
            made = answer(b"").startswith(b"HTTP/1.1 201") if expected is None else False
            assert removals == [f"DELETE /containers/{ID}?force=1&v=1"] * (2 if made else 0)

    run_bounded(scenario())
    assert list(folder.iterdir()) == []


def test_an_engine_that_starts_is_awaited(tmp_path):
    """It is asked until it answers."""
    folder = tmp_path / "folder"
    folder.mkdir()

    async def scenario():
        engine = Engine(f"unix://{tmp_path}/engine.sock")
        waiting = asyncio.create_task(wait_until_seen(engine, folder))
        with pytest.raises(EngineError):
            await sees_folder(engine, folder)
        async with run_engine(tmp_path, lambda body: answer_probe(body, "/")):
            assert await waiting is True

    run_bounded(scenario())


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    """The engine is not asked."""
    with pytest.raises(OSError, match="No such file"):
        run_bounded(sees_folder(Engine("unix:///nowhere"), tmp_path / "none"))


def test_of_a_folder_that_is_still_to_be_made_the_nearest_is_looked_at(tmp_path):
    """It will be in that one."""
    assert find_existing(tmp_path / "a" / "b") == tmp_path
    assert find_existing(tmp_path) == tmp_path
