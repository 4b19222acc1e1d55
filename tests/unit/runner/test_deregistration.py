"""The methods of deregistering a runner, against the stand-in for GitHub that Prism checks."""

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
from sidecar.github import (
    Connection,
    GitHubError,
    Pat,
    PermissionDenied,
    RunnerBusy,
    TransientError,
    api,
)
from sidecar.github.actions_service import ClockDiffers
from sidecar.runner import configure, deregistration
from sidecar.runner.configure import Registration
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.registration_request import RegistrationRequest
from tests.support.loops import on_both, run


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Retry after a moment, and without the library's own log."""
    growing, patient = deregistration.growing, api.backoff

    def impatient():
        pause = patient()
        return lambda error: 0.001 if pause(error) is not False else False

    for module in (deregistration, configure):
        monkeypatch.setattr(module, "growing", lambda k, **_: growing(k, first=0.01, longest=0.02))
    monkeypatch.setattr(api, "backoff", impatient)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@asynccontextmanager
async def github(credential=None):
    """Give GitHub's state and a connection to it."""
    async with hub.serving() as served:

        async def get_credential():
            if isinstance(credential, Exception):
                raise credential
            return Pat("ghp_local")

        async with Connection(get_credential) as connection:
            connection.url = f"{served.url}/octo/demo"
            yield served.world, connection


def added(world, name="r", **more):
    """Register a runner at GitHub."""
    scope = Scope.of_path("/repos/octo/demo")
    return world.runners.add(Registered(0, name, scope, [], True, 0.0, "s", **more))


def registered(name="r", runner_id=None, *, exists=True, unique=True):
    """Make a registered runner that cannot remove itself."""
    return SimpleNamespace(exists=exists, name=name, unique=unique, runner_id=runner_id)


def make_deregistration(connection, runner, *, usable=False, service=None):
    """Make the deregistration of a runner; `usable` says whether the token is."""
    made = Deregistration(connection, lambda: usable, service=service)
    made.runner = runner
    return made


class Services:
    """The runner services, whose answers a test decides: errors to raise, the last one for ever."""

    def __init__(self, *errors, usable_token="T", known=False):  # noqa: S107  no real one
        self.usable_token = usable_token
        self.can_ask = True
        self.known = known
        self.asked = 0
        self.removed = 0
        self._errors = list(errors)

    async def deregister(self, runner_id):
        """Remove the runner, or raise the next error."""
        assert runner_id == 7
        self.removed += 1
        error = self._errors.pop(0) if len(self._errors) > 1 else next(iter(self._errors), None)
        if error is not None:
            raise error

    async def is_registered(self, runner_id, name):
        """Say whether it is known, or raise that."""
        assert (runner_id, name) == (7, "r")
        self.asked += 1
        if isinstance(self.known, Exception):
            raise self.known
        return self.known


def end_listener(removal, code=0, *, had_job=True, configured=False):
    """Set how the listener ended."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(code)
    listener = SimpleNamespace(ended=future, had_job=had_job)
    removal.set_listener_ended(listener, configured=configured)


def methods(events):
    """List the methods by which runners were deregistered."""
    return [event["rung"] for event in events if event["event"] == "runner.deregistered"]


@pytest.fixture
def removable(root, program):
    """Give a runner that its own program removes, with the shell lines `remove`."""

    def make(remove="rm -f .runner\n", settings='{"agentName": "r", "agentId": 7}'):
        configure = f"echo '{settings}' >.runner"
        program(f'case "$1" in configure) {configure};; remove) {remove};; esac\n')
        registration_request = RegistrationRequest(
            "https://github.com/o/r", "T", "r", (), False, None, "_work", unique=True
        )
        return Registration(root, registration_request, {"PATH": os.environ["PATH"]})

    make.runs = program.runs
    return make


# --- never registered -----------------------------------------------------------------------------


@pytest.mark.parametrize("runner", [None, registered(exists=False)])
def test_a_runner_that_was_never_registered_is_not_removed(runner):
    """GitHub is not asked."""

    async def play():
        async with github() as (world, connection):
            assert await make_deregistration(connection, runner).deregister() == "never-registered"
            assert not world.calls

    with capture_logs() as events:
        run("asyncio", play())
    assert methods(events) == ["never-registered"]


# --- first: its job is over -----------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("runner_id", [99, None])
def test_after_its_job_it_is_looked_up(loop, runner_id):
    """GitHub has removed it: this is verified by its number, or by its name."""

    async def play():
        async with github() as (world, connection):
            removal = make_deregistration(connection, registered(runner_id=runner_id))
            end_listener(removal)
            await removal.deregister()
            assert set(world.calls) == {"list-runners" if runner_id is None else "get-runner"}

    with capture_logs() as events:
        run(loop, play())
    assert methods(events) == ["github"]


@on_both
def test_a_late_removal_is_awaited(loop, monkeypatch):
    """GitHub still shows it at first: it is looked up again, and not deleted."""
    monkeypatch.setattr(deregistration, "LOOKS", 1000)

    async def play():
        async with github() as (world, connection):
            runner = added(world, job_id=1)
            removal = make_deregistration(connection, registered(runner_id=runner.id))
            end_listener(removal)
            leave = asyncio.create_task(removal.deregister())
            while not world.calls["get-runner"]:
                await asyncio.wait([leave], timeout=0.01)
            world.runners.remove(runner, "job-completed", force=True)
            await leave
            assert world.calls["delete-runner"] == 0

    with capture_logs() as events:
        run(loop, play())
    assert methods(events) == ["github"]


@on_both
def test_a_runner_that_github_does_not_remove_is_deleted(loop):
    """After some looks, by the next method; while GitHub calls it busy, again and again."""

    async def play():
        async with github() as (world, connection):
            runner = added(world, job_id=1)
            removal = make_deregistration(connection, registered(runner_id=runner.id))
            end_listener(removal)
            leave = asyncio.create_task(removal.deregister())
            while world.calls["delete-runner"] < 2:
                await asyncio.wait([leave], timeout=0.01)
            runner.job_id = 0
            await leave
            assert world.calls["get-runner"] == deregistration.LOOKS
            assert [gone.by for gone in world.runners.removed] == ["rest"]

    with capture_logs() as events:
        run(loop, play())
    assert methods(events) == ["api"]


def test_the_listener_s_word_is_no_proof():
    """A job can delete `.runner` and end its listener with 0, and keep the runner's key."""

    async def play():
        removal = make_deregistration(None, registered())
        assert not removal.can_ask_github
        end_listener(removal)
        with pytest.raises(RegistrationError, match="no credential for GitHub's API"):
            await removal.deregister()

    with capture_logs() as events:
        run("asyncio", play())
    assert methods(events) == []
    assert events[0]["reason"] == "there is nothing to ask GitHub with"


def test_without_a_credential_the_runner_services_are_asked():
    """With the registration token or the runner's key; nothing is removed."""

    async def play():
        services = Services(RunnerBusy("no"))
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        assert removal.can_ask_github
        assert not await removal.is_known()
        end_listener(removal)
        assert await removal.deregister() == "github"
        assert (services.asked, services.removed) == (2, 0)

    with capture_logs() as events:
        run("asyncio", play())
    assert methods(events) == ["github"]


@pytest.mark.parametrize("refused", [False, True])
def test_a_runner_that_nobody_can_remove_may_be_gone(refused):
    """The launcher deletes a runner before it stops the task: then nothing is left, and no error.

    With a young token the runner services say it; without one, or where they refuse it, the
    runner's own key does.
    """

    async def play():
        error = [PermissionDenied("expired")] if refused else []
        services = Services(*error, usable_token="T" if refused else None)
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        assert await removal.deregister() == "github"
        assert (services.asked, services.removed) == (1, int(refused))

    with capture_logs() as events:
        run("asyncio", play())
    assert methods(events) == ["github"]


@pytest.mark.parametrize("known", [True, GitHubError("off")])
def test_a_runner_that_nobody_can_remove_is_not_taken_for_gone(known):
    """GitHub still knows it, or does not say: the error names the reason of each method."""

    async def play():
        services = Services(usable_token=None, known=known)
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        with pytest.raises(RegistrationError, match="no credential for GitHub's API"):
            await removal.deregister()
        assert services.asked == 1

    with capture_logs() as events:
        run("asyncio", play())
    assert methods(events) == []


@pytest.mark.parametrize("another", [True, False])
def test_a_runner_whose_key_github_still_knows_is_not_gone(another):
    """After some looks the next method is tried; without one there are more looks."""

    async def play():
        services = Services(usable_token="T" if another else None, known=True)
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        end_listener(removal)
        if another:
            assert await removal.deregister() == "registration-token"
            assert services.asked == deregistration.LOOKS
        else:
            with pytest.raises(RegistrationError):
                await removal.deregister()
            assert services.asked == deregistration.LOOKS_ALONE

    run("asyncio", play())


@pytest.mark.parametrize("error", [GitHubError("off"), ClockDiffers("minutes off")])
def test_a_failed_look_proves_nothing(error):
    """It is logged, and the runner is removed as if it were there."""

    async def play():
        services = Services(known=error)
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        end_listener(removal)
        assert await removal.deregister() == "registration-token"

    with capture_logs() as events:
        run("asyncio", play())
    assert methods(events) == ["registration-token"]
    unverified = events[0]
    assert (unverified["event"], unverified["reason"]) == (
        "runner.removal_unverified",
        str(error),
    )


@pytest.mark.parametrize("failure", ["refused", "no credential"])
def test_a_failed_look_by_the_api_proves_nothing(failure):
    """Nor does a credential that fails."""

    async def play():
        credential = TokenError("gone") if failure == "no credential" else None
        async with github(credential) as (world, connection):
            world.faults.add({"call": "*", "count": -1, "status": 403})
            removal = make_deregistration(connection, registered())
            end_listener(removal)
            with pytest.raises(RegistrationError):
                await removal.deregister()

    with capture_logs() as events:
        run("asyncio", play())
    assert next(event["event"] for event in events) == "runner.removal_unverified"


@pytest.mark.parametrize(
    ("code", "had_job", "configured"),
    [(0, False, False), (0, True, True), (-9, True, False), (1, True, False), (143, True, False)],
)
def test_only_a_job_that_ran_to_its_end_counts(code, had_job, configured):
    """No job, still configured, or killed: GitHub may still know it."""

    async def play():
        async with github() as (world, connection):
            runner = added(world)
            removal = make_deregistration(connection, registered(runner_id=runner.id))
            end_listener(removal, code, had_job=had_job, configured=configured)
            await removal.deregister()
            assert world.calls["get-runner"] == 0

    with capture_logs() as events:
        run("asyncio", play())
    assert methods(events) == ["api"]


# --- second: by GitHub's API ----------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_it_is_deleted_by_its_number_or_its_name(loop, by_name, there):
    """A runner that GitHub does not know counts as deleted."""

    async def play():
        async with github() as (world, connection):
            runner_id = added(world).id if there else 99
            removal = make_deregistration(
                connection, registered(runner_id=None if by_name else runner_id)
            )
            assert await removal.is_known() == there
            assert await removal.deregister() == "api"
            assert list(world.runners) == []

    with capture_logs() as events:
        run(loop, play())
    assert methods(events) == ["api"]


def test_a_name_that_may_be_another_s_is_not_deleted():
    """The runner of that name stays, and the error says why."""

    async def play():
        async with github() as (world, connection):
            added(world)
            with pytest.raises(RegistrationError, match="its name may be another's"):
                await make_deregistration(connection, registered(unique=False)).deregister()
            assert len(list(world.runners)) == 1

    run("asyncio", play())


def test_a_busy_runner_is_an_error_at_once_while_its_listener_runs():
    """422: the drain then waits for the job; no other method is tried."""

    async def play():
        async with github() as (world, connection):
            runner = added(world, job_id=1)
            removal = make_deregistration(connection, registered(runner_id=runner.id), usable=True)
            with pytest.raises(RegistrationError, match="r: it is still running a job"):
                await removal.deregister()
            assert removal.busy
            assert world.calls["delete-runner"] == 1

    run("asyncio", play())


# --- third: by the runner services ----------------------------------------------------------------


@on_both
def test_a_token_alone_removes_it_without_the_program(loop, removable):
    """Two requests of the agent's own; the runner's program is not started."""

    async def play():
        runner = removable()
        await runner.register()
        services = Services()
        removal = make_deregistration(None, runner, usable=True, service=services)
        assert await removal.deregister() == "registration-token"
        assert services.removed == 1

    with capture_logs() as events:
        run(loop, play())
    assert methods(events) == ["registration-token"]
    assert [line.split()[0] for line in removable.runs()] == ["configure"]


@pytest.mark.parametrize(
    ("error", "falls_back"),
    [
        (TransientError("no answer"), True),
        (GitHubError("odd", 400), True),
        (PermissionDenied("GitHub answers 404", 404), False),
        ("hangs", True),
    ],
)
def test_the_program_is_the_next_method(removable, monkeypatch, error, falls_back):
    """But not with a token that was refused: it would be refused again."""
    monkeypatch.setattr(deregistration, "API_PATIENCE", 0.05)

    class Silent(Services):
        async def deregister(self, _):
            await asyncio.Event().wait()

    async def play():
        runner = removable()
        await runner.register()
        services = Silent() if error == "hangs" else Services(error, known=True)
        removal = make_deregistration(None, runner, usable=True, service=services)
        if falls_back:
            assert await removal.deregister() == "program"
        else:
            for _ in range(2):
                with pytest.raises(RegistrationError, match="GitHub answers 404"):
                    await removal.deregister()
            assert services.removed == 1  # what is final is not asked for again

    run("asyncio", play())
    assert len(removable.runs()) == 1 + falls_back


def test_a_runner_without_a_number_is_left_to_the_program(removable):
    """The services know runners by their number only."""

    async def play():
        runner = removable(settings='{"agentName": "r"}')
        await runner.register()
        removal = make_deregistration(None, runner, usable=True, service=Services())
        return await removal.deregister()

    assert run("asyncio", play()) == "program"


def test_a_final_refusal_is_not_repeated(removable):
    """The cleanup begins the step again at the end of the life."""

    async def play():
        runner = removable("echo 'response code: NotFound' >&2; exit 1")
        await runner.register()
        removal = make_deregistration(None, runner, usable=True)
        for _ in range(3):
            with pytest.raises(RegistrationError, match="NotFound"):
                await removal.deregister()

    run("asyncio", play())
    assert [line.split()[0] for line in removable.runs()] == ["configure", "remove"]


@pytest.mark.parametrize(
    ("code", "had_job", "configured"), [(-9, True, True), (137, True, True), (0, False, False)]
)
def test_a_job_that_github_holds_is_not_waited_for(code, had_job, configured):
    """After a kill, and after a listener without a job: three removals, then the reason."""

    async def play():
        services = Services(RunnerBusy("busy"))
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        end_listener(removal, code, had_job=had_job, configured=configured)
        with pytest.raises(RegistrationError, match="for about ten minutes"):
            await asyncio.wait_for(removal.deregister(), 60)
        assert services.removed == deregistration.REFUSALS

    run("asyncio", play())


def test_a_job_that_ended_well_is_waited_for():
    """GitHub learns of it a little later: each refusal is repeated."""

    async def play():
        services = Services(*[RunnerBusy("busy")] * 9, None, known=True)
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        end_listener(removal)
        assert await removal.deregister() == "registration-token"
        assert services.removed == 10

    run("asyncio", play())


# --- fourth: by its own program -------------------------------------------------------------------

FAULTS = {
    "no credential": (TokenError("no secret"), {}),
    "denied": (None, {"status": 403}),
    "gone": (None, {"status": 404, "call": "x"}),
    "broken": (None, {"status": 500}),
    "reset": (None, {"drop": True}),
    "hangs": (None, {"hang": True}),
}


@on_both
@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind != "gone"])
def test_where_the_api_fails_the_program_removes_it(loop, kind, removable, monkeypatch):
    """With a registration token that is still usable, however the credential fails."""
    monkeypatch.setattr(deregistration, "API_PATIENCE", 0.5)
    credential, fault = FAULTS[kind]

    async def play():
        async with github(credential) as (world, connection):
            world.faults.add({"call": "*", "count": -1} | fault)
            runner = removable()
            await runner.register()
            assert (
                await make_deregistration(connection, runner, usable=True).deregister() == "program"
            )

    with capture_logs() as events:
        run(loop, play())
    assert methods(events) == ["program"]
    assert [line.split()[0] for line in removable.runs()] == ["configure", "remove"]


def test_the_error_names_the_reason_of_each_method(removable):
    """And GitHub's own clean-up after a day."""

    async def play():
        async with github() as (world, connection):
            world.faults.add({"call": "*", "count": -1, "status": 403})
            runner = removable()
            await runner.register()
            with pytest.raises(RegistrationError) as failed:
                await make_deregistration(connection, runner).deregister()
            for reason in (
                "GitHub answers 403",
                "token is too old",
                "removes an offline ephemeral",
            ):
                assert reason in str(failed.value)
            just_in_time = make_deregistration(connection, registered(runner_id=1), usable=True)
            with pytest.raises(RegistrationError, match="just-in-time runner cannot remove itself"):
                await just_in_time.deregister()

    run("asyncio", play())
    assert len(removable.runs()) == 1


def test_a_token_alone_is_enough(removable):
    """The missing credential is reported only if the other method fails too."""

    async def play():
        runner = removable("echo 'response code: NotFound' >&2; exit 1")
        await runner.register()
        with pytest.raises(RegistrationError, match=r"no credential for GitHub's API; .*NotFound"):
            await make_deregistration(None, runner, usable=True).deregister()

    run("asyncio", play())


# --- whether GitHub knows it ----------------------------------------------------------------------


def test_github_can_be_asked_whether_it_knows_the_runner():
    """A missing answer is an error, not a no."""

    async def play():
        async with github() as (world, connection):
            removal = make_deregistration(connection, None)
            assert not await removal.is_known()
            removal.runner = registered(runner_id=added(world).id)
            assert await removal.is_known()
            world.faults.add({"call": "get-runner", "count": -1, "status": 500})
            with pytest.raises(GitHubError):
                await removal.is_known()

    run("asyncio", play())
