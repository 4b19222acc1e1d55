"""A job's labels, which the engine repeats in every event and list, do not end the agent.

Docker has no limit for them, and an image's are added to those of the create request.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from sidecar.docker import container_listener, engine, removal
from sidecar.docker.created import CreatedObject, ObjectRecord
from sidecar.docker.engine import MAX_ANSWER, AnswerTooLong, Engine, EngineError
from sidecar.docker.object_states import CONTAINERS, read_states
from tests.support.servers import serving
from tests.unit.docker.fakes import fake_engine, response, run_bounded
from tests.unit.docker.test_container_listener import ONE, TWO, RecordingHandler, event

LONG_EVENT = json.dumps(
    {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": ONE, "Attributes": {"x": "y" * 600_000}},
    }
).encode()


async def read_by_aiohttp(answer, _name):
    """Read the lines as was once done."""
    while line := await answer.content.readline():
        yield line


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_long_event_is_a_gap(mended, tmp_path, monkeypatch):
    """After it the listener compares with the list, and hears what comes next.

    Unmended, the error is none that it expects: it would end the agent's life.
    """
    monkeypatch.setattr(container_listener, "_FIRST_PAUSE", 0.01)
    if not mended:
        monkeypatch.setattr(engine, "_read_lines", read_by_aiohttp)
    lines = [LONG_EVENT + b"\n", event("die", TWO) + b"\n"]
    answers = {"/events": lines, "/containers/json": [{"Id": ONE, "State": "running"}]}
    handler = RecordingHandler(ONE)

    async def scenario():
        async with fake_engine(tmp_path, answers) as (docker, requests):
            task = asyncio.create_task(container_listener.follow_containers(docker, handler))
            while await requests.get() != "/events":
                pass
            lines.pop(0)  # the second answer has the next event alone
            while ("stopped", TWO) not in handler.received and not task.done():
                await asyncio.wait([task], timeout=0.01)
            if task.done():
                return task.exception()
            task.cancel()
            await asyncio.wait([task])
            return None

    error = run_bounded(scenario())
    assert (error is None) is mended
    assert mended or not isinstance(error, EngineError)


# --- lists ----------------------------------------------------------------------------------------

SIZES = {f"{number:064x}": size for number, size in enumerate([10, MAX_ANSWER, 10, 3 << 20] * 3)}
"""Containers, and how long the engine's description of each is."""


class LabelledEngine:
    """An engine whose containers have long labels."""

    def __init__(self):
        self.containers = dict(SIZES)
        self.sent = []
        """The length of each list."""

    async def serve(self, reader, writer):
        """Answer the requests of one connection, until the agent closes it."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target = head.decode().split()[:2]
                writer.write(self.answer(method, urlsplit(target)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, method, target):
        """Return the response: the list of some containers, or of none because one is removed."""
        if method == "DELETE":
            known = self.containers.pop(target.path.rpartition("/")[2], None)
            return response(404 if known is None else 204)
        filters = parse_qs(target.query).get("filters")
        wanted = json.loads(filters[0])["id"] if filters else list(self.containers)
        entries = [
            {"Id": one, "State": "running", "Labels": {"x": "y" * self.containers[one]}}
            for one in wanted
            if one in self.containers
        ]
        body = json.dumps(entries).encode()
        self.sent.append(len(body))
        return response(200, body)


@asynccontextmanager
async def serve(folder):
    """Serve such an engine; yield it and its client."""
    labelled = LabelledEngine()
    client = Engine(f"unix://{folder}/engine.sock")
    async with (
        serving(labelled.serve, folder / "engine.sock"),
        client.open_session() as docker,
    ):
        yield labelled, docker


def test_each_container_is_found_whatever_its_labels(tmp_path):
    """The agent asks for fewer at a time; one list of all would be longer than it reads."""

    async def scenario():
        async with serve(tmp_path) as (labelled, docker):
            with pytest.raises(AnswerTooLong):
                await docker.get("/containers/json?all=1")
            states = await read_states(docker, CONTAINERS, [*SIZES, "f" * 64])
            assert set(states) == set(SIZES)
            assert sorted(set(states.values())) == ["", "running"]
            assert min(labelled.sent) < MAX_ANSWER

    run_bounded(scenario())


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_container_with_long_labels_is_removed(mended, tmp_path, monkeypatch):
    """Its labels keep no container at the engine when the job is over."""
    if not mended:
        monkeypatch.setattr(removal, "read_states", read_all)
    record = ObjectRecord(tmp_path / "created")
    for one in SIZES:
        record.take(CreatedObject("container", one))

    async def scenario():
        async with serve(tmp_path) as (labelled, docker):
            try:
                await removal.remove_objects(docker, record)
            except AnswerTooLong:
                return len(labelled.containers)
            return len(labelled.containers)

    assert run_bounded(scenario()) == (0 if mended else len(SIZES))


async def read_all(docker, _path, _ids):
    """Ask for all containers at once, as was once done."""
    return {one["Id"]: "" for one in await docker.get("/containers/json?all=1")}
