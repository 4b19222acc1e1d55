"""Just in time: a runner whose configuration is handed over, or asked for at GitHub's API."""

import asyncio
import platform
from contextlib import asynccontextmanager

import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from local import github as hub
from local.github.runners import Runner as Registered
from local.github.scope import Scope
from sidecar.errors import RegistrationError, TokenError
from sidecar.github import Connection, Pat, api
from sidecar.runner import just_in_time
from sidecar.runner.configure import RENAMES, RegistrationRequest
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.just_in_time import JustInTime
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import on_both, run

WISH = RegistrationRequest(
    "https://x/o/r", None, "ecs-1", ("a",), False, None, "_work", unique=True
)
FILES = {".runner": b'{"AgentId": "7"}', ".credentials": b"{}", ".credentials_rsaparams": b"{}"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Retry after a moment, and without the library's own log."""
    patient = api.patient

    def impatient():
        pause = patient()
        return lambda error: 0.001 if pause(error) is not False else False

    monkeypatch.setattr(api, "patient", impatient)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@asynccontextmanager
async def asking(root, registration_request=WISH, patience=20.0):
    """Give GitHub's state, a runner that asks it for its configuration, and its way out."""
    async with hub.serving() as served:

        async def be():
            return Pat("ghp_local")

        async with Connection(be) as connection:
            connection.url = f"{served.url}/octo/demo"
            runner = JustInTime(
                root, registration_request, RegistrationToken(), connection, patience
            )
            way_out = Deregistration(connection, lambda: False)
            way_out.runner = runner
            yield served.world, runner, way_out


def added(world, name="ecs-1", **more):
    """Register another runner at GitHub."""
    scope = Scope.of_path("/repos/octo/demo")
    return world.runners.add(Registered(0, name, scope, [], True, 0.0, "s", **more))


def names(world):
    """List the runners that GitHub knows."""
    return [runner.name for runner in world.runners]


def test_what_was_handed_over_is_unpacked(root):
    """Nothing is asked: its files are the configuration, its number is known."""
    runner = JustInTime(
        root, WISH, RegistrationToken(jit=FILES, runner_id=7, name="theirs"), None, 1.0
    )
    assert runner.exists
    run("asyncio", runner.register())
    assert (runner.name, runner.runner_id, root.runner_id, runner.complete) == (
        "theirs",
        7,
        7,
        True,
    )
    assert root.configured
    assert (root.path / ".credentials").stat().st_mode & 0o777 == 0o600


@on_both
def test_it_is_asked_for_and_taken_away(loop, root):
    """Registered by one call, deleted by another."""

    async def play():
        async with asking(root) as (world, runner, way_out):
            assert not runner.exists
            await runner.register()
            assert names(world) == [runner.name] == ["ecs-1"]
            assert runner.runner_id == root.runner_id == next(iter(world.runners)).id
            assert await way_out.leave() == "api"
            assert names(world) == []

    run(loop, play())


@pytest.mark.parametrize("how", [{"online": True}, {"job_id": 1}])
def test_a_name_that_somebody_bears_gets_a_suffix(root, how):
    """Another's runner stays as it is."""

    async def play():
        async with asking(root) as (world, runner, _):
            other = added(world, job_id=how.get("job_id", 0))
            if how.get("online"):
                world.open_session(other, "o", "1").polls = 1
            await runner.register()
            assert runner.name.startswith("ecs-1-")
            assert names(world) == ["ecs-1", runner.name]

    run("asyncio", play())


@pytest.mark.parametrize("unique", [True, False])
def test_a_name_that_was_given_is_never_taken_over(root, unique):
    """Ours alone, and offline: the lost answer of a try before this one; else a suffix."""
    registration_request = RegistrationRequest(
        "https://x", None, "ecs-1", (), False, None, "_work", unique=unique
    )

    async def play():
        async with asking(root, registration_request) as (world, runner, _):
            added(world)
            await runner.register()
            assert (runner.name == "ecs-1") == unique
            assert len(names(world)) == (1 if unique else 2)

    run("asyncio", play())


@on_both
def test_a_lost_answer_leaves_nothing_behind(loop, root):
    """GitHub registered it and nobody heard: it is taken away, and registered again."""

    async def play():
        async with asking(root) as (world, runner, _):
            world.faults.add({"call": "generate-jitconfig", "drop": True, "after": True})
            await runner.register()
            assert names(world) == ["ecs-1"]
            assert runner.runner_id == next(iter(world.runners)).id

    run(loop, play())


def test_a_name_is_not_changed_for_ever(root):
    """If every name is taken, something else is wrong; and nothing is ours then."""

    async def play():
        async with asking(root) as (world, runner, _):
            world.faults.add({"call": "generate-jitconfig", "count": -1, "status": 409})
            with pytest.raises(RegistrationError, match=r"is taken \(SIDECAR_NAME\)"):
                await runner.register()
            assert world.calls["generate-jitconfig"] == RENAMES
            assert not runner.exists

    run("asyncio", play())


@pytest.mark.parametrize("wait", [20.0, 0.0, None])
def test_a_stop_in_the_middle_leaves_nothing_behind(root, wait):
    """The answer is awaited; without it the name tells what to take away."""

    async def finished(future):
        await asyncio.wait([future], timeout=wait)

    async def play():
        async with asking(root) as (world, runner, way_out):
            world.faults.add({"call": "generate-jitconfig", "after": True, "delay": 0.3})
            task = asyncio.create_task(runner.register(None if wait is None else finished))
            while not names(world):
                await asyncio.wait([task], timeout=0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert not runner.complete
            assert runner.exists
            assert (runner.runner_id is None) == (not wait)
            await way_out.leave()
            assert names(world) == []

    run("asyncio", play())


def test_github_that_does_not_answer_has_an_end(root):
    """The deadline of the token is that of registering, too; the setting is named."""

    async def play():
        async with asking(root, patience=0.1) as (world, runner, _):
            world.faults.add({"call": "*", "count": -1, "hang": True})
            with pytest.raises(RegistrationError, match=r"within 0\.1 s \(SIDECAR_TOKEN_TIMEOUT\)"):
                await runner.register()
            assert runner.exists

    run("asyncio", play())


@pytest.mark.parametrize(("fault", "may_exist"), [({"status": 403}, False), ({"drop": True}, True)])
def test_a_refusal_says_that_it_does_not_exist(root, fault, may_exist):
    """Trouble does not."""

    async def play():
        async with asking(root) as (world, runner, _):
            world.faults.add({"call": "generate-jitconfig", "count": -1} | fault)
            with pytest.raises(RegistrationError, match="cannot register ecs-1 just in time: "):
                await runner.register()
            assert runner.exists == may_exist

    run("asyncio", play())


def test_a_configuration_of_unknown_form_is_told_and_taken_away(root):
    """Its number is known all the same."""

    async def play():
        async with asking(root) as (world, runner, way_out):
            answer = {"id": added(world, "x").id, "name": "x", "busy": False, "status": "offline"}
            body = {"runner": answer, "encoded_jit_config": "???"}
            world.faults.add({"call": "generate-jitconfig", "status": 201, "body": body})
            with pytest.raises(TokenError, match="unknown form"):
                await runner.register()
            await way_out.leave()
            assert names(world) == []

    run("asyncio", play())


def test_the_group_is_a_number(root):
    """GitHub's API takes no name: the error shows what to set."""
    registration_request = RegistrationRequest("https://x", None, "n", (), False, "2", "_work")

    async def play():
        async with asking(root, registration_request) as (world, runner, _):
            world.settings.runner_groups.append("second")
            await runner.register()
            assert next(iter(world.runners)).group_id == 2

    run("asyncio", play())

    async def refused():
        named = RegistrationRequest("https://x", None, "n", (), False, "two", "_work")
        async with asking(root, named) as (world, runner, _):
            with pytest.raises(RegistrationError, match="SIDECAR_RUNNER_GROUP must be the group's"):
                await runner.register()
            assert not world.calls

    run("asyncio", refused())


@pytest.mark.parametrize(
    ("system", "machine", "own"),
    [
        ("Linux", "x86_64", ("self-hosted", "Linux", "X64")),
        ("Windows", "AMD64", ("self-hosted", "Windows", "X64")),
        ("Darwin", "arm64", ("self-hosted", "macOS", "ARM64")),
        ("Plan9", "mips", ("self-hosted", "Plan9", "mips")),
    ],
)
def test_the_default_labels_are_written_out(monkeypatch, system, machine, own):
    """Just in time GitHub adds none; whoever wants none gets none."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert just_in_time.labels(WISH) == (*own, "a")
    bare = RegistrationRequest("https://x", None, "n", ("a",), True, None, "_work")
    assert just_in_time.labels(bare) == ("a",)


def test_the_blob_is_not_logged(root):
    """Nor what is in it."""

    async def play():
        async with asking(root) as (_, runner, _):
            await runner.register()
            return (root.path / ".credentials_rsaparams").read_text("utf-8-sig")

    with capture_logs() as events:
        secret = run("asyncio", play())
    assert secret not in repr(events)
