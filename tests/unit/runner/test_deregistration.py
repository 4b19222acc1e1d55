"""The ladder by which a runner leaves GitHub, against the GitHub that Prism judges."""

import asyncio
import os
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from local import github as hub
from local.github.runners import Runner as Registered
from local.github.scope import Scope
from sidecar.errors import RegistrationError, TokenError
from sidecar.github import Connection, GitHubError, Pat, api
from sidecar.runner import configure, deregistration
from sidecar.runner.configure import Registration, RegistrationRequest
from sidecar.runner.deregistration import Deregistration
from tests.support.loops import on_both, run


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Retry after a moment, and without the library's own log."""
    growing, patient = deregistration.growing, api.patient

    def impatient():
        pause = patient()
        return lambda error: 0.001 if pause(error) is not False else False

    for module in (deregistration, configure):
        monkeypatch.setattr(module, "growing", lambda k, **_: growing(k, first=0.01, longest=0.02))
    monkeypatch.setattr(api, "patient", impatient)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@asynccontextmanager
async def github(credential=None):
    """Give GitHub's state and a connection to it."""
    async with hub.serving() as served:

        async def be():
            if isinstance(credential, Exception):
                raise credential
            return Pat("ghp_local")

        async with Connection(be) as connection:
            connection.url = f"{served.url}/octo/demo"
            yield served.world, connection


def added(world, name="r", **more):
    """Register a runner at GitHub."""
    scope = Scope.of_path("/repos/octo/demo")
    return world.runners.add(Registered(0, name, scope, [], True, 0.0, "s", **more))


def known(name="r", runner_id=None, *, exists=True, unique=True):
    """Make a runner as a departure sees it: one that cannot remove itself."""
    return SimpleNamespace(exists=exists, name=name, unique=unique, runner_id=runner_id)


def leaving(connection, runner, *, usable=False):
    """Make the way out of a runner."""
    made = Deregistration(connection, lambda: usable)
    made.runner = runner
    return made


def ended(way_out, code=0, *, had_job=True, configured=False):
    """Tell it how the listener ended."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(code)
    listener = SimpleNamespace(ended=future, had_job=had_job)
    way_out.listener_ended(listener, configured=configured)


def rungs(events):
    """List by whose hand a runner went."""
    return [event["rung"] for event in events if event["event"] == "runner.deregistered"]


@pytest.fixture
def removable(root, program):
    """Give a runner that its own program removes; the second argument of `program` says how."""

    def make(remove="rm -f .runner\n"):
        program(f'case "$1" in configure) echo "{{}}" >.runner;; remove) {remove};; esac\n')
        registration_request = RegistrationRequest(
            "https://github.com/o/r", "T", "r", (), False, None, "_work", unique=True
        )
        return Registration(root, registration_request, {"PATH": os.environ["PATH"]})

    make.runs = program.runs
    return make


# --- what was never there -------------------------------------------------------------------------


@pytest.mark.parametrize("runner", [None, known(exists=False)])
def test_what_was_never_registered_is_not_taken_away(runner):
    """GitHub is not even asked."""

    async def play():
        async with github() as (world, connection):
            assert await leaving(connection, runner).leave() == "never-registered"
            assert not world.calls

    with capture_logs() as events:
        run("asyncio", play())
    assert rungs(events) == ["never-registered"]


# --- first rung: its job is over ------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("runner_id", [99, None])
def test_after_its_job_it_is_looked_up(loop, runner_id):
    """GitHub has removed it: verified by its number, or by its name."""

    async def play():
        async with github() as (world, connection):
            way_out = leaving(connection, known(runner_id=runner_id))
            ended(way_out)
            await way_out.leave()
            assert set(world.calls) == {"list-runners" if runner_id is None else "get-runner"}

    with capture_logs() as events:
        run(loop, play())
    assert rungs(events) == ["github"]


@on_both
def test_a_late_removal_is_awaited(loop, monkeypatch):
    """GitHub still shows it at the first look: it is looked up again, and not deleted."""
    monkeypatch.setattr(deregistration, "LOOKS", 1000)

    async def play():
        async with github() as (world, connection):
            runner = added(world, job_id=1)
            way_out = leaving(connection, known(runner_id=runner.id))
            ended(way_out)
            leave = asyncio.create_task(way_out.leave())
            while not world.calls["get-runner"]:
                await asyncio.wait([leave], timeout=0.01)
            world.runners.remove(runner, "job-completed", force=True)
            await leave
            assert world.calls["delete-runner"] == 0

    with capture_logs() as events:
        run(loop, play())
    assert rungs(events) == ["github"]


@on_both
def test_what_github_does_not_remove_is_deleted(loop):
    """After some looks it goes by the next rung; while GitHub calls it busy that is awaited."""

    async def play():
        async with github() as (world, connection):
            runner = added(world, job_id=1)
            way_out = leaving(connection, known(runner_id=runner.id))
            ended(way_out)
            leave = asyncio.create_task(way_out.leave())
            while world.calls["delete-runner"] < 2:
                await asyncio.wait([leave], timeout=0.01)
            runner.job_id = 0
            await leave
            assert world.calls["get-runner"] == deregistration.LOOKS
            assert [gone.by for gone in world.runners.removed] == ["rest"]

    with capture_logs() as events:
        run(loop, play())
    assert rungs(events) == ["api"]


def test_without_a_credential_its_word_is_taken():
    """Nobody could look: the listener deleted its own configuration, as after a job."""

    async def play():
        way_out = leaving(None, known())
        assert not way_out.can_look
        ended(way_out)
        await way_out.leave()

    with capture_logs() as events:
        run("asyncio", play())
    assert rungs(events) == ["github"]


@pytest.mark.parametrize("trouble", ["refused", "no credential"])
def test_a_look_that_fails_is_no_failure(trouble):
    """It is told, and the listener's word is taken."""

    async def play():
        credential = TokenError("gone") if trouble == "no credential" else None
        async with github(credential) as (world, connection):
            world.faults.add({"call": "*", "count": -1, "status": 403})
            way_out = leaving(connection, known())
            ended(way_out)
            await way_out.leave()

    with capture_logs() as events:
        run("asyncio", play())
    assert rungs(events) == ["github"]
    assert next(event["event"] for event in events) == "runner.removal_unverified"


@pytest.mark.parametrize(
    ("code", "had_job", "configured"),
    [(0, False, False), (0, True, True), (-9, True, False), (1, True, False), (143, True, False)],
)
def test_only_a_job_that_ran_to_its_end_counts(code, had_job, configured):
    """No job, a configuration that is still there, a death: GitHub may still know it."""

    async def play():
        async with github() as (world, connection):
            runner = added(world)
            way_out = leaving(connection, known(runner_id=runner.id))
            ended(way_out, code, had_job=had_job, configured=configured)
            await way_out.leave()
            assert world.calls["get-runner"] == 0

    with capture_logs() as events:
        run("asyncio", play())
    assert rungs(events) == ["api"]


# --- second rung: by GitHub's API -----------------------------------------------------------------


@on_both
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_it_is_deleted_by_its_number_or_its_name(loop, by_name, there):
    """What is gone already is as good as deleted."""

    async def play():
        async with github() as (world, connection):
            runner_id = added(world).id if there else 99
            way_out = leaving(connection, known(runner_id=None if by_name else runner_id))
            assert await way_out.known() == there
            assert await way_out.leave() == "api"
            assert list(world.runners) == []

    with capture_logs() as events:
        run(loop, play())
    assert rungs(events) == ["api"]


def test_a_name_that_may_be_anothers_is_not_deleted():
    """A runner of that name stays, and the error says why."""

    async def play():
        async with github() as (world, connection):
            added(world)
            with pytest.raises(RegistrationError, match="its name may be another's"):
                await leaving(connection, known(unique=False)).leave()
            assert len(list(world.runners)) == 1

    run("asyncio", play())


def test_a_busy_runner_is_told_at_once_while_its_listener_runs():
    """422: the drain goes on with a job to wait for; no other rung is tried."""

    async def play():
        async with github() as (world, connection):
            runner = added(world, job_id=1)
            way_out = leaving(connection, known(runner_id=runner.id), usable=True)
            with pytest.raises(RegistrationError, match="r: it is still running a job"):
                await way_out.leave()
            assert way_out.busy
            assert world.calls["delete-runner"] == 1

    run("asyncio", play())


# --- third rung: by its own program ---------------------------------------------------------------

WHY = {
    "no credential": (TokenError("no secret"), {}),
    "denied": (None, {"status": 403}),
    "gone": (None, {"status": 404, "call": "x"}),
    "broken": (None, {"status": 500}),
    "reset": (None, {"drop": True}),
    "hangs": (None, {"hang": True}),
}


@on_both
@pytest.mark.parametrize("kind", [kind for kind in WHY if kind != "gone"])
def test_where_the_api_fails_the_program_removes_it(loop, kind, removable, monkeypatch):
    """With a registration token that is still good, whatever became of the credential."""
    monkeypatch.setattr(deregistration, "API_PATIENCE", 0.5)
    credential, fault = WHY[kind]

    async def play():
        async with github(credential) as (world, connection):
            world.faults.add({"call": "*", "count": -1} | fault)
            runner = removable()
            await runner.register()
            assert await leaving(connection, runner, usable=True).leave() == "registration-token"

    with capture_logs() as events:
        run(loop, play())
    assert rungs(events) == ["registration-token"]
    assert [line.split()[0] for line in removable.runs()] == ["configure", "remove"]


def test_without_any_way_the_log_says_who_will_do_it(removable):
    """Each rung with its reason, and GitHub's own clean-up."""

    async def play():
        async with github() as (world, connection):
            world.faults.add({"call": "*", "count": -1, "status": 403})
            runner = removable()
            await runner.register()
            with pytest.raises(RegistrationError) as failed:
                await leaving(connection, runner).leave()
            for why in ("GitHub answers 403", "token is too old", "removes an offline ephemeral"):
                assert why in str(failed.value)
            just_in_time = leaving(connection, known(runner_id=1), usable=True)
            with pytest.raises(RegistrationError, match="just-in-time runner cannot remove itself"):
                await just_in_time.leave()

    run("asyncio", play())
    assert len(removable.runs()) == 1


def test_a_token_alone_is_enough(removable):
    """No credential: the way is told of only when every other fails, too."""

    async def play():
        runner = removable("echo 'response code: NotFound' >&2; exit 1")
        await runner.register()
        with pytest.raises(RegistrationError, match=r"no credential for GitHub's API; .*NotFound"):
            await leaving(None, runner, usable=True).leave()

    run("asyncio", play())


# --- whether GitHub knows it ----------------------------------------------------------------------


def test_whether_it_is_known_can_be_asked():
    """What a watch for ghosts asks; an answer that does not come is an error, not a no."""

    async def play():
        async with github() as (world, connection):
            way_out = leaving(connection, None)
            assert not await way_out.known()
            way_out.runner = known(runner_id=added(world).id)
            assert await way_out.known()
            world.faults.add({"call": "get-runner", "count": -1, "status": 500})
            with pytest.raises(GitHubError):
                await way_out.known()

    run("asyncio", play())
