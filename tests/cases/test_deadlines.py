"""A call or a cleanup step that fails by a time-out says which deadline it was."""

import asyncio

import aiohttp
import pytest
from structlog.testing import capture_logs

from local import github as hub
from sidecar.aws import task_metadata, task_protection
from sidecar.github import Connection, Pat, TransientError, api
from sidecar.net.deadlines import describe_failure
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.loops import run
from tests.support.servers import serving
from tests.unit.conftest import short_github_pauses  # noqa: F401  a fixture

pytestmark = pytest.mark.usefixtures("short_github_pauses")

SHORT = aiohttp.ClientTimeout(total=0.1)


async def clean_up(action):
    """Run one cleanup step; return why it failed."""
    step = CleanupStack().register_step("runner", action)
    await step.begin()
    return step.error


@pytest.mark.parametrize("mended", [True, False])
def test_a_runner_that_cannot_be_deleted_in_time_names_the_deadline(monkeypatch, mended):
    """GitHub does not answer. Without the mend the reason is the name of a Python class."""
    monkeypatch.setattr(api, "CALL", SHORT)
    if not mended:
        monkeypatch.setattr(api, "describe_failure", lambda error, _: type(error).__name__)

    async def play():
        async def give():
            return Pat("ghp_local")

        async with hub.serving() as served, Connection(give) as connection:
            served.world.faults.add({"call": "*", "count": -1, "hang": True})
            connection.url = f"{served.url}/octo/demo"
            runners = await connection.runners()
            return await clean_up(lambda: runners.delete(7))

    error = run("asyncio", play())
    assert ("no answer within 0.1 s" in error) == mended
    assert ("TimeoutError" in error) != mended


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "no answer within 5 s"),
        (
            aiohttp.ConnectionTimeoutError("Connection timeout to host x"),
            "no connection within 2 s",
        ),
        (TimeoutError(110, "Connection timed out"), "[Errno 110] Connection timed out"),
        (OSError("odd"), "odd"),
        (ValueError(), "ValueError"),
    ],
)
def test_each_deadline_has_its_own_words(error, text):
    """A deadline of this side's has no text in the library; what the system says stays."""
    assert describe_failure(error, aiohttp.ClientTimeout(total=5, connect=2)) == text


def test_a_step_that_only_a_deadline_ended_says_so():
    """With why its last try failed, where there was one; another error has its own text."""

    async def play():
        async def end():
            raise TimeoutError

        async def retry():
            stack.note_retry("the parameter is throttled")
            raise TimeoutError

        stack = CleanupStack()
        steps = [stack.register_step("a", end), stack.register_step("b", retry)]
        await asyncio.wait([step.begin() for step in steps])
        return [step.error for step in steps]

    assert run("asyncio", play()) == [
        "one of its deadlines passed",
        "one of its deadlines passed; its last try: the parameter is throttled",
    ]


async def _never(reader, _):
    await reader.read()


def test_the_task_s_own_endpoints_name_theirs(monkeypatch):
    """Scale-in protection and the task's metadata, which answer nothing."""
    monkeypatch.setattr(task_protection, "CALL", SHORT)
    monkeypatch.setattr(task_metadata, "DEADLINE", 0.1)

    async def play():
        async with serving(_never) as server:
            uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(task_protection.ProtectionError, match=r"no answer within 0\.1 s"):
                await task_protection.unprotect_task(uri)
            with capture_logs() as events:
                await task_metadata.read_task_facts(uri)
            return events

    (event,) = run("asyncio", play())
    assert event["reason"] == "no answer within 0.1 s"


def test_a_service_that_does_not_answer_names_its_deadline(monkeypatch):
    """The runner services of GitHub are called by another client."""
    from sidecar.github.service_call import ServiceCalls

    monkeypatch.setattr(api, "CALL", SHORT)

    async def play():
        async with serving(_never) as server, ServiceCalls() as calls:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
            with pytest.raises(TransientError, match=r"no answer within 0\.1 s"):
                await calls.call("GET", url, lambda answer: answer, tries=1)

    run("asyncio", play())
