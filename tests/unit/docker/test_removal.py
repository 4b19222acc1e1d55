"""What a job created is removed from the engine, and nothing else. tests/engines has real ones."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from sidecar.docker import engine as engines
from sidecar.docker import removal
from sidecar.docker.created import CreatedObject, ObjectRecord
from sidecar.docker.engine import Engine, EngineError
from sidecar.docker.removal import find_left, remove_objects
from tests.support.servers import serving
from tests.unit.docker.fakes import response, run_bounded

ONE, OTHER, NETWORK = "1" * 64, "2" * 64, "d" * 64
IMAGE = "0123ab:" + "f" * 32
MADE = "2026-11-26T21:00:00Z"
AT = 1795726800
"""MADE in seconds since the epoch."""


class FakeEngine:
    """An engine with some objects, which it removes when asked."""

    def __init__(self, containers=(), networks=(), volumes=(), images=()):
        self.objects = {
            "containers": list(containers),
            "networks": list(networks),
            "volumes": list(volumes),
            "images": list(images),
        }
        self.removed = []
        """What was to be removed, in order, with the query."""
        self.refuses = {}
        """How often the removal of an object is refused."""

    async def serve(self, reader, writer):
        """Answer the requests of one connection."""
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, target = head.decode().split()[:2]
            status, body = self.answer(method, urlsplit(target))
            writer.write(response(status, json.dumps(body).encode()))

    def answer(self, method, target):
        """Return status and body."""
        kind, _, name = unquote(target.path).strip("/").partition("/")
        if method == "DELETE":
            return self.remove(kind, name, target.query)
        if kind == "volumes":
            known = name in self.objects[kind]
            return (200, {"Name": name, "CreatedAt": MADE}) if known else (404, {})
        if kind == "images":
            (reference,) = json.loads(parse_qs(target.query)["filters"][0])["reference"]
            assert reference == "0123ab:*"
            return 200, [{"RepoTags": [name]} for name in self.objects[kind]]
        wanted = set(json.loads(parse_qs(target.query)["filters"][0])["id"])
        return 200, [{"Id": one} for one in self.objects[kind] if one in wanted]

    def remove(self, kind, name, query):
        """Remove one object, or refuse."""
        self.removed.append(f"{kind} {name}" + (f"?{query}" if query else ""))
        if self.refuses.get(name, 0) > 0:
            self.refuses[name] -= 1
            return 409, {"message": "in use"}
        if name not in self.objects[kind]:
            return 404, {}
        self.objects[kind].remove(name)
        return 200, []


@asynccontextmanager
async def serve(folder, fake):
    """Serve a fake engine; yield the client of it."""

    async def on_client(reader, writer):
        try:
            await fake.serve(reader, writer)
        finally:
            writer.close()

    client = Engine(f"unix://{folder}/engine.sock")
    async with serving(on_client, folder / "engine.sock"), client.open_session() as engine:
        yield engine


def make_record(folder, *objects) -> ObjectRecord:
    """Return a record of these objects."""
    record = ObjectRecord(folder / "created")
    for one in objects:
        record.take(CreatedObject(*one))
    return record


def remove(folder, fake, *objects):
    """Remove these objects from the fake engine."""

    async def scenario():
        async with serve(folder, fake) as engine:
            return await remove_objects(engine, make_record(folder, *objects))

    return run_bounded(scenario())


def test_each_kind_is_removed_in_its_turn(tmp_path):
    """A network or a volume is in use until its containers are gone. Others' objects stay."""
    fake = FakeEngine([ONE, OTHER], [NETWORK, "n"], ["data", "other"], [IMAGE, "0123ab:latest"])
    objects = [
        ("volume", "data", AT, AT),
        ("label", "0123ab"),
        ("network", NETWORK),
        ("container", ONE),
    ]
    removed = remove(tmp_path, fake, *objects)
    assert removed == {"containers": 1, "networks": 1, "volumes": 1, "images": 1}
    assert fake.removed == [
        f"containers {ONE}?force=1&v=1",
        f"networks {NETWORK}",
        "volumes data",
        f"images {IMAGE}",
    ]
    left = {
        "containers": [OTHER],
        "networks": ["n"],
        "volumes": ["other"],
        "images": ["0123ab:latest"],
    }
    assert fake.objects == left


def test_what_the_job_removed_itself_is_not_asked_for(tmp_path):
    """A hundred containers with `--rm` cost one request."""
    fake = FakeEngine([OTHER])
    assert remove(tmp_path, fake, ("container", ONE), ("network", NETWORK)) == {}
    assert fake.removed == []


@pytest.mark.parametrize(("since", "until"), [(0, AT - 60), (AT + 60, AT + 61)])
def test_a_volume_of_the_same_name_is_another_s(tmp_path, since, until):
    """The job's own was removed, and another task made one since; or it was there before."""
    fake = FakeEngine(volumes=["data"])
    assert remove(tmp_path, fake, ("volume", "data", since, until)) == {}
    assert fake.objects["volumes"] == ["data"]


def test_what_is_in_use_for_a_moment_is_tried_again(tmp_path, monkeypatch):
    """The engine may be removing a container already."""
    monkeypatch.setattr(removal, "_PAUSE", 0.01)
    fake = FakeEngine([ONE])
    fake.refuses[ONE] = 2
    assert remove(tmp_path, fake, ("container", ONE)) == {"containers": 1}


def test_a_list_that_does_not_come_is_asked_for_again(tmp_path, monkeypatch):
    """The engine may be starting again, or busy."""
    monkeypatch.setattr(removal, "_PAUSE", 0.01)
    fake = FakeEngine([ONE])
    answer, failures = fake.answer, [500, 500]

    def fail_first(method, target):
        return (failures.pop(), {}) if failures else answer(method, target)

    fake.answer = fail_first
    assert remove(tmp_path, fake, ("container", ONE)) == {"containers": 1}


@pytest.mark.parametrize("refused", [[ONE], [ONE, OTHER]])
def test_what_is_listed_and_not_found_is_named(tmp_path, monkeypatch, refused):
    """The agent does not ask for its removal without end."""
    monkeypatch.setattr(removal, "_PAUSE", 0.01)
    fake = FakeEngine([ONE, OTHER])
    remove_one = fake.remove

    def find_nothing(kind, name, query):
        return (404, {}) if name in refused else remove_one(kind, name, query)

    fake.remove = find_nothing
    with pytest.raises(EngineError, match="lists it, but does not find it"):
        remove(tmp_path, fake, ("container", ONE), ("container", OTHER))
    assert fake.objects["containers"] == refused


def test_images_whose_labels_are_too_long_are_named(tmp_path, monkeypatch):
    """The rest is removed all the same."""
    monkeypatch.setattr(removal, "_PAUSE", 0.01)
    monkeypatch.setattr(engines, "MAX_ANSWER", 200)
    fake = FakeEngine([ONE], images=[IMAGE] * 10)
    with pytest.raises(EngineError, match=r"image 0123ab:\*: their labels are too long"):
        remove(tmp_path, fake, ("container", ONE), ("label", "0123ab"))
    assert fake.objects["containers"] == []


def test_what_stays_is_named(tmp_path, monkeypatch):
    """With the engine's own reason; the others are removed."""
    monkeypatch.setattr(removal, "_PAUSE", 0.01)
    fake = FakeEngine([ONE], [NETWORK])
    fake.refuses[NETWORK] = 99
    with pytest.raises(EngineError, match=r"network dddddddddddd: .* answered 409 .*: in use"):
        remove(tmp_path, fake, ("container", ONE), ("network", NETWORK))
    assert fake.objects["containers"] == []


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_many_that_stay_are_named_in_one_short_text(tmp_path, monkeypatch, mended):
    """The first of them, and how many more there are; unmended the text is as long as all."""
    monkeypatch.setattr(removal, "_TRIES", 1)
    if not mended:
        monkeypatch.setattr(removal, "MOST_NAMED", 10_000)
    names = [f"{number:064x}" for number in range(200)]
    fake = FakeEngine(networks=names)
    fake.refuses = dict.fromkeys(names, 99)
    with pytest.raises(EngineError) as failed:
        remove(tmp_path, fake, *(("network", name) for name in names))
    assert str(failed.value).endswith("; and 184 more") is mended
    assert (len(str(failed.value)) < 10_000) is mended


def test_what_a_container_made_meanwhile_is_removed_too(tmp_path):
    """It may have created another before it was killed."""
    fake = FakeEngine([ONE, OTHER])

    async def scenario():
        record = make_record(tmp_path, ("container", ONE))
        remove_one = fake.remove

        def remove_and_record(kind, name, query):
            record.add("container", OTHER)
            return remove_one(kind, name, query)

        fake.remove = remove_and_record
        async with serve(tmp_path, fake) as engine:
            return await remove_objects(engine, record)

    assert run_bounded(scenario()) == {"containers": 2}
    assert fake.objects["containers"] == []


def test_a_request_in_progress_does_not_keep_the_rest(tmp_path, monkeypatch):
    """The engine may never answer it."""
    monkeypatch.setattr(removal, "_RESPONSE_TIMEOUT", 0.01)
    fake = FakeEngine([ONE])

    async def scenario():
        record = make_record(tmp_path, ("container", ONE))
        record.begin()
        async with serve(tmp_path, fake) as engine:
            return await remove_objects(engine, record)

    assert run_bounded(scenario()) == {"containers": 1}


def test_what_is_left_is_named_in_short(tmp_path):
    """For the log of a life that removes nothing."""
    fake = FakeEngine([ONE], [], ["data"], [IMAGE])
    objects = (
        CreatedObject("container", ONE),
        CreatedObject("volume", "data", AT, AT),
        CreatedObject("label", "0123ab"),
    )

    async def scenario():
        async with serve(tmp_path, fake) as engine:
            return [str(one) for one in await find_left(engine, objects)]

    assert run_bounded(scenario()) == [f"container {ONE[:12]}", "volume data", f"image {IMAGE}"]
