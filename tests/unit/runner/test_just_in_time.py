"""Just-in-time registration: the configuration is given, or requested from GitHub's API."""

import asyncio
import platform
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from local import github as hub
from local.github.runners import Runner as Registered
from local.github.scope import Scope
from sidecar.errors import RegistrationError, TokenError
from sidecar.github import Connection, Pat
from sidecar.runner import just_in_time
from sidecar.runner.configure import RENAMES
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.just_in_time import JustInTimeRegistration
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import on_both, run

REQUEST = RegistrationRequest(
    "https://x/o/r", None, "ecs-1", ("a",), False, None, "_work", unique=True
)
FILES = {".runner": b'{"AgentId": "7"}', ".credentials": b"{}", ".credentials_rsaparams": b"{}"}


pytestmark = pytest.mark.usefixtures("short_github_pauses")


@asynccontextmanager
async def requesting(root, registration_request=REQUEST, timeout=20.0):
    """Give GitHub's state, a runner that requests its configuration, and its deregistration."""
    async with hub.serving() as served:

        async def get_credential():
            return Pat("ghp_local")

        async with Connection(get_credential) as connection:
            connection.url = f"{served.url}/octo/demo"
            runner = JustInTimeRegistration(
                root, registration_request, RegistrationToken(), connection, timeout
            )
            removal = Deregistration(connection, lambda: False)
            removal.runner = runner
            yield served.world, runner, removal


def added(world, name="ecs-1", **more):
    """Register another runner at GitHub."""
    scope = Scope.of_path("/repos/octo/demo")
    return world.runners.add(Registered(0, name, scope, [], True, 0.0, "s", **more))


def names(world):
    """List the runners that GitHub knows."""
    return [runner.name for runner in world.runners]


def test_a_given_configuration_is_written(root):
    """GitHub is not asked: the files are the configuration, the number is known."""
    runner = JustInTimeRegistration(
        root, REQUEST, RegistrationToken(jit=FILES, runner_id=7, name="theirs"), None, 1.0
    )
    assert runner.exists
    run("asyncio", runner.register())
    assert (runner.name, runner.runner_id, root.runner_id, runner.complete) == (
        "theirs",
        7,
        7,
        True,
    )
    assert root.is_configured
    assert (root.path / ".credentials").stat().st_mode & 0o777 == 0o600


@on_both
def test_a_configuration_is_requested_and_the_runner_removed(loop, root):
    """Registered by one call, deleted by another."""

    async def play():
        async with requesting(root) as (world, runner, removal):
            assert not runner.exists
            await runner.register()
            assert names(world) == [runner.name] == ["ecs-1"]
            assert runner.runner_id == root.runner_id == next(iter(world.runners)).id
            assert await removal.deregister() == "api"
            assert names(world) == []

    run(loop, play())


@pytest.mark.parametrize("how", [{"online": True}, {"job_id": 1}])
def test_a_taken_name_gets_a_suffix(root, how):
    """The other runner stays as it is."""

    async def play():
        async with requesting(root) as (world, runner, _):
            other = added(world, job_id=how.get("job_id", 0))
            if how.get("online"):
                world.open_session(other, "o", "1").polls = 1
            await runner.register()
            assert runner.name.startswith("ecs-1-")
            assert names(world) == ["ecs-1", runner.name]

    run("asyncio", play())


@pytest.mark.parametrize("unique", [True, False])
def test_only_an_offline_runner_of_a_unique_name_is_replaced(root, unique):
    """It is ours: the answer to an earlier try was lost. Another name gets a suffix."""
    registration_request = RegistrationRequest(
        "https://x", None, "ecs-1", (), False, None, "_work", unique=unique
    )

    async def play():
        async with requesting(root, registration_request) as (world, runner, _):
            added(world)
            await runner.register()
            assert (runner.name == "ecs-1") == unique
            assert len(names(world)) == (1 if unique else 2)

    run("asyncio", play())


@on_both
def test_a_lost_answer_leaves_no_runner(loop, root):
    """GitHub registered it, but the answer was lost: it is removed, and registered again."""

    async def play():
        async with requesting(root) as (world, runner, _):
            world.faults.add({"call": "generate-jitconfig", "drop": True, "after": True})
            await runner.register()
            assert names(world) == ["ecs-1"]
            assert runner.runner_id == next(iter(world.runners)).id

    run(loop, play())


def test_a_name_is_not_changed_for_ever(root):
    """If every name is taken, another thing is wrong; no runner is ours then."""

    async def play():
        async with requesting(root) as (world, runner, _):
            world.faults.add({"call": "generate-jitconfig", "count": -1, "status": 409})
            with pytest.raises(RegistrationError, match=r"is taken \(SIDECAR_NAME\)"):
                await runner.register()
            assert world.calls["generate-jitconfig"] == RENAMES
            assert not runner.exists

    run("asyncio", play())


@pytest.mark.parametrize("wait", [20.0, 0.0, None])
def test_a_stop_during_the_request_leaves_no_runner(root, wait):
    """The answer is awaited; without it the runner is found by its name."""

    async def wait_at_stop(future):
        await asyncio.wait([future], timeout=wait)

    async def play():
        async with requesting(root) as (world, runner, removal):
            # Without a wait the answer must not come meanwhile, however long that takes.
            delay = 0.3 if wait else 60.0
            world.faults.add({"call": "generate-jitconfig", "after": True, "delay": delay})
            task = asyncio.create_task(runner.register(None if wait is None else wait_at_stop))
            while not names(world):
                await asyncio.wait([task], timeout=0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert not runner.complete
            assert runner.exists
            assert (runner.runner_id is None) == (not wait)
            await removal.deregister()
            assert names(world) == []

    run("asyncio", play())


def test_github_that_does_not_answer_has_an_end(root):
    """The token's timeout is also that of the registration; the error names the setting."""

    async def play():
        async with requesting(root, timeout=0.1) as (world, runner, _):
            world.faults.add({"call": "*", "count": -1, "hang": True})
            with pytest.raises(RegistrationError, match=r"within 0\.1 s \(SIDECAR_TOKEN_TIMEOUT\)"):
                await runner.register()
            assert runner.exists

    run("asyncio", play())


@pytest.mark.parametrize(("fault", "may_exist"), [({"status": 403}, False), ({"drop": True}, True)])
def test_after_a_refusal_there_is_no_runner(root, fault, may_exist):
    """After a transient error there may be one."""

    async def play():
        async with requesting(root) as (world, runner, _):
            world.faults.add({"call": "generate-jitconfig", "count": -1} | fault)
            with pytest.raises(RegistrationError, match="cannot register ecs-1 just in time: "):
                await runner.register()
            assert runner.exists == may_exist

    run("asyncio", play())


def test_a_runner_with_an_unknown_configuration_is_removed(root):
    """Its number is known; the form of its configuration is an error."""

    async def play():
        async with requesting(root) as (world, runner, removal):
            answer = {"id": added(world, "x").id, "name": "x", "busy": False, "status": "offline"}
            body = {"runner": answer, "encoded_jit_config": "???"}
            world.faults.add({"call": "generate-jitconfig", "status": 201, "body": body})
            with pytest.raises(TokenError, match="unknown form"):
                await runner.register()
            await removal.deregister()
            assert names(world) == []

    run("asyncio", play())


def test_a_group_s_number_is_taken_as_it_is(root):
    """GitHub's API accepts nothing else; `tests/cases` has the names."""
    registration_request = RegistrationRequest("https://x", None, "n", (), False, "2", "_work")

    async def play():
        async with requesting(root, registration_request) as (world, runner, _):
            world.settings.runner_groups.append("second")
            await runner.register()
            assert next(iter(world.runners)).group_id == 2

    run("asyncio", play())


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
    """GitHub adds none to a just-in-time runner; they can be switched off."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert just_in_time.labels(REQUEST) == (*own, "a")
    bare = RegistrationRequest("https://x", None, "n", ("a",), True, None, "_work")
    assert just_in_time.labels(bare) == ("a",)


def test_the_configuration_is_not_logged(root):
    """It contains the runner's key."""

    async def play():
        async with requesting(root) as (_, runner, _):
            await runner.register()
            return (root.path / ".credentials_rsaparams").read_text("utf-8-sig")

    with capture_logs() as events:
        secret = run("asyncio", play())
    assert secret not in repr(events)
