"""The instance metadata service: a token first, then the machine's facts and notices."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from local import imds
from sidecar.aws import instance_metadata
from sidecar.aws.instance_metadata import (
    DOCUMENT,
    ROLES,
    SPOT_NOTICE,
    InstanceMetadata,
    MetadataError,
    SilentError,
    connect,
    read_machine,
    seconds_left,
)
from tests.support.loops import on_both, run

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Wait for an answer that comes, however busy the machine is."""
    monkeypatch.setattr(instance_metadata, "CALL_SECONDS", 60.0)
    monkeypatch.setattr(instance_metadata, "LOOK", 60.0)
    monkeypatch.setattr(instance_metadata, "PATIENCE", 120.0)


@pytest.fixture
def _hasty(monkeypatch):
    """Give up after some tries."""
    monkeypatch.setattr(instance_metadata, "CALL_SECONDS", 3.0)
    monkeypatch.setattr(instance_metadata, "PATIENCE", 6.0)


def serve(**facts):
    """Serve an instance of these facts, which answers with a token alone."""
    return imds.serving(instance=imds.Instance(**{"token_required": True} | facts))


@on_both
def test_a_notice_is_there_or_not(loop):
    """404 until it comes; one token is enough for both looks."""

    async def play():
        async with serve() as served, connect(served.url) as metadata:
            assert await metadata.read_notice(SPOT_NOTICE) is None
            served.instance.interrupt()
            assert await metadata.read_notice(SPOT_NOTICE) == served.instance.action
            assert [seen.method for seen in served.requests] == ["PUT", "GET", "GET"]

    run(loop, play())


@pytest.mark.parametrize(
    ("notice", "seconds"),
    [
        ({"action": "terminate", "time": "2026-11-27T12:02:00Z"}, 115.0),
        ({"action": "stop", "time": "2026-11-27T12:00:30+00:00"}, 25.0),
        ({"action": "terminate", "time": "2026-11-27T12:00:04Z"}, None),
        ({"action": "terminate", "time": "2026-11-27T13:00:00Z"}, None),
        ({"action": "terminate", "time": "2026-11-27T12:02:00"}, None),
        ({"action": "terminate", "time": 12}, None),
        ({"action": "hibernate"}, None),
        ({"noticeTime": "2026-11-27T12:02:00Z"}, None),
    ],
)
def test_a_spot_notice_says_how_much_time_is_left(notice, seconds):
    """Less a margin. What is no time, or none of a Spot notice, leaves it to the stop timeout."""
    assert seconds_left(notice, datetime(2026, 11, 27, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("text", ["<html>", "[]", '"action"', "{}"])
def test_a_page_is_no_notice(text):
    """A life must not end because of what somebody else answers."""

    async def play():
        async with serve(tags={"notice": text}) as served, connect(served.url) as metadata:
            with pytest.raises(SilentError, match="answers no notice"):
                await metadata.read_notice("tags/instance/notice")

    run("asyncio", play())


def test_a_token_that_is_too_old_is_renewed():
    """As after a machine has slept: 401, then a new token."""

    async def play():
        async with serve() as served, connect(served.url) as metadata:
            assert await metadata.read("instance-id") == imds.INSTANCE
            served.forget_tokens()
            assert await metadata.read("instance-id") == imds.INSTANCE
            methods = [seen.method for seen in served.requests]
            assert methods == ["PUT", "GET", "GET", "PUT", "GET"]

    run("asyncio", play())


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("silent", SilentError, r"no answer within 0\.3 s; .*hop limit must be 2"),
        ("throttled", SilentError, "it answers 503"),
        ("disabled", MetadataError, "switched off"),
        ("v1", MetadataError, "no IMDSv2"),
    ],
)
def test_without_a_token_nothing_is_known(fault, kind, reason, monkeypatch):
    """Each fault has its reason; only the first two may pass."""
    if fault == "silent":
        monkeypatch.setattr(instance_metadata, "CALL_SECONDS", 0.3)

    async def play():
        async with serve(token_required=False) as served, connect(served.url) as metadata:
            served.fault = fault
            with pytest.raises(MetadataError, match=reason) as raised:
                await metadata.read("instance-id")
            assert type(raised.value) is kind

    run("asyncio", play())


def test_a_page_is_no_token():
    """As a captive portal answers; the next try asks for another."""

    async def play():
        async with serve() as served:
            served.fault = "page"
            async with connect(served.url) as metadata:
                with pytest.raises(SilentError, match="a token that is none"):
                    await metadata.read("instance-id")
                served.fault = ""
                assert await metadata.read("instance-id") == imds.INSTANCE

    run("asyncio", play())


PAGE = "<!doctype html>\n<title>Sign in</title>"
OF_OTHERS = {"instance-id": "instance-id", "role": f"{ROLES}/", "tags": "tags/instance/"}


async def _read_past_page(monkeypatch, path):
    """Read a machine whose first answer for `path` is a page."""
    pages, read = [PAGE], InstanceMetadata.read

    async def read_page_first(self, asked, **how):
        text = await read(self, asked, **how)
        return pages.pop() if asked == path and pages else text

    monkeypatch.setattr(InstanceMetadata, "read", read_page_first)
    async with serve(tags={"Name": "ci 1/2"}) as served:
        return await read_machine(served.url, expected=True)


@pytest.mark.parametrize("path", OF_OTHERS.values(), ids=OF_OTHERS)
def test_a_page_is_no_fact(monkeypatch, path):
    """Somebody else answers once: the machine is asked again, and known by its own facts."""
    found = run("asyncio", _read_past_page(monkeypatch, path))
    assert found["instance-id"] == imds.INSTANCE
    assert found[ROLES] == "instance"
    assert [name for name in found if name.startswith("tags/")] == ["tags/instance/Name"]


@pytest.mark.parametrize("path", OF_OTHERS.values(), ids=OF_OTHERS)
def test_without_the_check_a_page_becomes_a_fact(monkeypatch, path):
    """The test above finds its fault."""
    monkeypatch.setattr(instance_metadata, "_check", lambda *given: given[-1])
    found = run("asyncio", _read_past_page(monkeypatch, path))
    wrong = found["instance-id"] != imds.INSTANCE or found[ROLES] != "instance"
    assert wrong or "tags/instance/Name" not in found


@pytest.mark.usefixtures("_hasty")
def test_a_page_that_stays_is_the_reason():
    """Whoever reads the error learns which answer was somebody else's."""
    with pytest.raises(MetadataError, match="does not answer instance-id, but something else"):
        run("asyncio", _read_only_pages())


async def _read_only_pages():
    async with serve(tags=None) as served:
        served.instance.id = PAGE
        await read_machine(served.url, expected=True)


def test_an_answer_without_end_is_not_read():
    """64 KB are enough for any of them."""

    async def play():
        async with serve(tags={"Long": "x" * 70_000}) as served, connect(served.url) as metadata:
            with pytest.raises(SilentError, match="more than 65536 bytes"):
                await metadata.read("tags/instance/Long")

    run("asyncio", play())


@on_both
@pytest.mark.parametrize("expected", [False, True])
def test_a_machine_is_read(loop, expected):
    """All that a life needs, by the names of the service."""

    async def play():
        async with serve(life_cycle="spot", tags={"ghr:x": "a/b c", "Name": ""}) as served:
            return await read_machine(served.url, expected=expected)

    found = run(loop, play())
    assert found.pop(DOCUMENT).startswith("{")
    assert found == {
        "ami-id": "ami-0abcdef1234567890",
        "instance-id": imds.INSTANCE,
        "instance-life-cycle": "spot",
        "instance-type": "m7i.large",
        "placement/availability-zone": "eu-central-1b",
        "placement/region": "eu-central-1",
        ROLES: "instance",
        "tags/instance/Name": "",
        "tags/instance/ghr:x": "a/b c",
    }


def test_tags_and_role_may_be_missing():
    """Tags are not in the metadata by default, and an instance may have no profile."""

    async def play():
        async with serve(tags=None, has_role=False) as served:
            return await read_machine(served.url, expected=True)

    found = run("asyncio", play())
    assert found["instance-id"] == imds.INSTANCE
    assert ROLES not in found
    assert not any(name.startswith("tags/") for name in found)


@pytest.mark.parametrize("url", [NOBODY, "silent"])
def test_elsewhere_one_short_look_is_all(url, monkeypatch):
    """Refused, or no answer: then this is no machine, and the start goes on."""
    # Long enough for a busy machine to get the look to the service.
    monkeypatch.setattr(instance_metadata, "LOOK", 3.0)

    async def play():
        async with serve() as served:
            served.fault = "silent"
            with pytest.raises(SilentError):
                await read_machine(served.url if url == "silent" else url, expected=False)
            assert len(served.requests) == (url == "silent")

    run("asyncio", play())


def test_a_machine_that_boots_is_waited_for():
    """Where it must be one, a service that is late, or throttles, is asked again."""

    async def play():
        async with serve() as served:
            served.fault = "throttled"
            reading = asyncio.ensure_future(read_machine(served.url, expected=True))
            await served.wait_for_request("/api/token", 2)
            served.fault = ""
            assert (await reading)["instance-id"] == imds.INSTANCE

    run("asyncio", play())


@pytest.mark.usefixtures("_hasty")
def test_waiting_has_an_end():
    """And a stop ends it at once."""

    async def play(*, stopped):
        async with serve() as served:
            served.fault = "throttled"
            with pytest.raises(MetadataError):
                await read_machine(served.url, expected=True, is_stopped=lambda: stopped)
            return len(served.requests)

    assert run("asyncio", play(stopped=True)) == 1
    assert run("asyncio", play(stopped=False)) > 1
