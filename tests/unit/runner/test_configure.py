"""Registering and taking away, against programs that say what the actions runner says."""

import asyncio
import os

import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from sidecar.errors import Exit, RegistrationError
from sidecar.runner import configure as registration
from sidecar.runner import deregistration
from sidecar.runner.configure import Busy, Registration, RegistrationRequest, renamed
from sidecar.runner.deregistration import Deregistration
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.loops import on_both, run

TOKEN = "AABBCCDD-SECRET"
ADDED = 'echo; printf "√ "; echo "Runner successfully added"\n'
SAVED = 'echo \'{"agentName": "build-1"}\' >.runner; echo x >.credentials\n'
NOT_FOUND = (
    "echo 'Http response code: NotFound from '\\''POST https://api.github.com/actions/"
    "runner-registration'\\'' (Request Id: 0B1C)' >&2; exit 1\n"
)
OFFLINE = "echo 'Name or service not known (api.github.com:443)' >&2; exit 1\n"
REMOVED = 'rm -f .runner .credentials; printf "√ "; echo "Runner removed successfully"\n'
BUSY = (
    'echo "Failed: Removing runner from the server"\n'
    """echo 'Runner "build-1" is still running a job"' >&2; exit 1\n"""
)

WISH = RegistrationRequest(
    "https://github.com/o/r", TOKEN, "build-1", ("a", "b"), False, "g", "_work"
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Retry after a moment, and without the library's own log."""
    growing = registration.growing
    for module in (registration, deregistration):
        monkeypatch.setattr(
            module, "growing", lambda kinds, **_: growing(kinds, first=0.01, longest=0.02)
        )
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def runner(root):
    """Give a registration that was not yet tried, its way out, and the debt that this settles."""
    made = Registration(root, WISH, {"PATH": os.environ["PATH"]})
    made.deregistration = Deregistration(None, lambda: True)
    made.deregistration.runner = made
    made.cleanup_step = CleanupStack().register_step("runner", made.deregistration.leave)
    return made


def verbs(configure, remove="exit 9\n"):
    """Write a program of two verbs; `$n` is how often the verb was run, this time included."""
    return (
        'n=$(grep -c "^$1 " runs)\n'
        f'case "$1" in\nconfigure)\n:\n{configure};;\nremove)\n:\n{remove};;\nesac\n'
    )


async def configured(runner, patience=0.0):
    """Register; what is cut may finish for `patience` seconds."""

    async def finished(ended):
        await asyncio.wait([ended], timeout=patience)

    await runner.register(finished)


class Ended:
    """A listener that has ended."""

    def __init__(self, code, *, had_job):
        self.ended = asyncio.get_running_loop().create_future()
        self.ended.set_result(code)
        self.had_job = had_job


# --- there --------------------------------------------------------------------------------------


@on_both
def test_a_runner_is_registered_and_removed(loop, runner, root, program):
    """Ephemeral, unattended, never updating; the token is no argument; it is gone in the end."""
    program(verbs(ADDED + SAVED, REMOVED))

    async def life():
        await configured(runner)
        assert runner.complete
        assert root.configured
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done

    with capture_logs() as events:
        run(loop, life())
    assert program.runs() == [
        f"configure {' '.join(WISH.arguments(replaces=False))} token={TOKEN}",
        f"remove --unattended token={TOKEN}",
    ]
    told = [(event["event"], event.get("rung")) for event in events]
    assert ("runner.registered", None) in told
    assert told[-1] == ("runner.deregistered", "registration-token")
    assert TOKEN not in repr((events, runner.registration_request))


def test_an_outdated_program_ends_with_a_code_of_its_own(runner, program):
    """GitHub registers no runner that is too old: no second try, and exit code 21."""
    line = "Runner version v2.300.0 is deprecated and cannot be registered."
    program(verbs(f"echo '{line}' >&2; exit 1\n"))
    with pytest.raises(RegistrationError, match="build the image anew") as raised:
        run("asyncio", configured(runner))
    assert raised.value.exit is Exit.DEPRECATED
    assert len(program.runs()) == 1


def test_the_wish_is_written_as_arguments():
    """What is not wished for is not said; the token never is."""
    assert WISH.arguments(replaces=False) == (
        "--unattended",
        "--ephemeral",
        "--disableupdate",
        *("--url", "https://github.com/o/r", "--name", "build-1"),
        *("--labels", "a,b", "--runnergroup", "g", "--work", "_work"),
    )
    bare = RegistrationRequest("u", "t", "n", (), True, None, "w")
    assert bare.arguments(replaces=True) == (
        "--unattended",
        "--ephemeral",
        "--disableupdate",
        "--no-default-labels",
        "--replace",
        *("--url", "u", "--name", "n", "--work", "w"),
    )


@on_both
def test_a_taken_name_gets_a_suffix(loop, runner, program):
    """Two tasks never fight for a name, and neither replaces the other's runner."""
    taken = 'echo "A runner exists with the same name build-1." >&2; exit 1\n'
    program(verbs(f"if [ $n = 1 ]; then {taken}fi\n" + ADDED + SAVED, REMOVED))

    async def life():
        await configured(runner)

    run(loop, life())
    assert runner.registration_request.name.startswith("build-1-")
    assert len(runner.registration_request.name) == len("build-1-") + 6
    first, second = program.runs()
    assert "--name build-1 " in first
    assert f"--name {runner.registration_request.name} " in second
    assert "--replace" not in second


def test_a_name_is_not_changed_for_ever(runner, program):
    """If every name is taken, something else is wrong."""
    program(verbs('echo "A runner exists with the same name x." >&2; exit 1\n'))
    with pytest.raises(RegistrationError, match=r"the name build-1-\S+ is taken \(SIDECAR_NAME\)"):
        run("asyncio", configured(runner))
    assert len(program.runs()) == registration.RENAMES
    assert not runner.complete


def test_a_suffix_fits_the_longest_name():
    """The result is no longer than GitHub accepts, and ends in the suffix."""
    new = renamed("n" * 64)
    assert len(new) == 64
    assert new[:57] == "n" * 57
    assert new[57] == "-"
    assert renamed("n") != renamed("n")


@on_both
def test_a_refusal_is_final(loop, runner, root, program):
    """A 404 is what GitHub says to an expired token; it is not asked again."""
    program(verbs(NOT_FOUND))

    async def life():
        with pytest.raises(RegistrationError, match=r"NotFound.*younger than an hour"):
            await configured(runner)
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done

    with capture_logs() as events:
        run(loop, life())
    assert len(program.runs()) == 1
    assert events[-1]["rung"] == "never-registered"


@on_both
def test_a_network_failure_is_retried(loop, runner, program):
    """Two failures, then success."""
    program(verbs(f"if [ $n -lt 3 ]; then {OFFLINE}fi\n" + ADDED + SAVED, REMOVED))
    run(loop, configured(runner))
    assert runner.complete
    assert len(program.runs()) == 3


def test_a_network_failure_is_not_retried_for_ever(runner, program):
    """The last reason is told."""
    program(verbs(OFFLINE))
    with pytest.raises(RegistrationError, match=r"/o/r: Name or service not known"):
        run("asyncio", configured(runner))
    assert len(program.runs()) == registration.ATTEMPTS


def test_a_configure_that_hangs_has_an_end(runner, root, program, monkeypatch):
    """It is killed, and tried again as after any other trouble."""
    monkeypatch.setattr(registration, "CONFIGURE_TIMEOUT", 0.1)
    program(verbs("if [ $n = 1 ]; then sleep 60; fi\n" + ADDED + SAVED))
    run("asyncio", configured(runner))
    assert len(program.runs()) == 2
    (root.path / ".runner").unlink()
    monkeypatch.setattr(registration, "ATTEMPTS", 1)
    program(verbs("sleep 60\n"))
    with pytest.raises(RegistrationError, match=r"no end after 0\.1 s"):
        run("asyncio", configured(runner))


@pytest.mark.parametrize("then", ["sleep 60\n", "kill -ABRT $$\n"])
def test_a_configure_that_fails_on_its_way_out_has_configured(runner, program, monkeypatch, then):
    """What it writes last is there, and a second try would only say so: "already configured"."""
    monkeypatch.setattr(registration, "CONFIGURE_TIMEOUT", 1.0)
    program(verbs(ADDED + SAVED + then, REMOVED))
    run("asyncio", configured(runner))
    assert runner.complete
    assert len(program.runs()) == 1


def test_a_refusal_that_the_listener_s_end_overtakes_is_no_last_word(runner, root, program):
    """It had a job when GitHub was asked, and is gone when GitHub's answer comes: asked again."""
    busy = f"if [ $n = 1 ]; then echo >asked; read go <go\n{BUSY}fi\n"
    program(verbs(ADDED + SAVED, busy + REMOVED))
    os.mkfifo(root.path / "go")

    async def life():
        await configured(runner)
        leaving = runner.cleanup_step.begin()
        while not (root.path / "asked").exists():
            await asyncio.wait([leaving], timeout=0.01)
        runner.deregistration.listener_ended(Ended(0, had_job=False), configured=True)
        await asyncio.to_thread((root.path / "go").write_text, "on\n")
        await leaving
        assert runner.cleanup_step.done, runner.cleanup_step.error

    run("asyncio", life())
    assert [line.split()[0] for line in program.runs()] == ["configure", "remove", "remove"]


@on_both
def test_a_half_registration_is_taken_over(loop, runner, program):
    """Added at GitHub, then a failure: the next try replaces what is, by then, its own."""
    program(verbs(ADDED + f"if [ $n = 1 ]; then {OFFLINE}fi\n" + SAVED))
    run(loop, configured(runner))
    first, second = program.runs()
    assert "--replace" not in first
    assert "--replace" in second


# --- and gone -----------------------------------------------------------------------------------


def test_what_was_never_tried_is_not_removed(runner, program):
    """A stop before the first try has nothing to take away."""
    program(verbs(""))

    async def life():
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done

    run("asyncio", life())
    assert program.runs() == []


@on_both
def test_a_stop_in_the_middle_leaves_no_runner_without_a_key(loop, runner, root, program):
    """Configure comes to its end within the patience, and what it made is removed."""
    program(verbs(ADDED + "echo >added; read go <go\n" + SAVED, REMOVED))
    os.mkfifo(root.path / "go")

    async def life():
        held = os.open(root.path / "go", os.O_RDWR)
        task = asyncio.create_task(configured(runner, patience=20))
        while not (root.path / "added").exists():
            await asyncio.wait([task], timeout=0.01)
        task.cancel()
        await asyncio.sleep(0)
        os.write(held, b"on\n")
        await asyncio.wait([task])
        os.close(held)
        assert task.cancelled()
        assert not runner.complete
        assert root.configured
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done
        assert not root.configured

    run(loop, life())
    assert [line.split()[0] for line in program.runs()] == ["configure", "remove"]


@on_both
def test_a_runner_whose_keys_were_never_saved_is_taken_over_and_removed(
    loop, runner, root, program
):
    """Killed between the two, it is at GitHub alone; network trouble on the way is retried."""
    program(
        verbs(
            ADDED + f"case $n in 1) exec sleep 60;; 2) {OFFLINE};; esac\n" + SAVED,
            f"if [ $n = 1 ]; then {OFFLINE}fi\n" + REMOVED,
        )
    )

    async def life():
        task = asyncio.create_task(configured(runner))
        while not (root.path / "runs").exists():
            await asyncio.wait([task], timeout=0.01)
        await asyncio.wait([task], timeout=0.2)
        task.cancel()
        await asyncio.wait([task])
        assert not root.configured
        await runner.cleanup_step.begin()
        assert (runner.cleanup_step.done, runner.cleanup_step.error) == (True, None)

    run(loop, life())
    ran = [(line.split()[0], "--replace" in line) for line in program.runs()]
    assert ran == [
        ("configure", False),
        ("configure", True),
        ("configure", True),
        ("remove", False),
        ("remove", False),
    ]


@on_both
def test_a_busy_runner_is_not_removed(loop, runner, program):
    """GitHub refuses, which is told at once while the job runs, and waited out once it is over."""
    program(verbs(ADDED + SAVED, f"if [ $n -lt 3 ]; then {BUSY}fi\n" + REMOVED))

    async def life():
        await configured(runner)
        told = "cannot deregister build-1: it is still running a job"
        with pytest.raises(RegistrationError, match=told) as refused:
            await runner.deregistration.leave()
        assert isinstance(refused.value.__cause__, Busy)
        assert runner.deregistration.busy
        runner.deregistration.listener_ended(Ended(-9, had_job=True), configured=True)
        await runner.deregistration.leave()

    run(loop, life())
    assert len(program.runs()) == 4


@on_both
@pytest.mark.parametrize("code", [0, 102])
def test_after_its_job_there_is_nothing_left_to_remove(loop, runner, root, program, code):
    """GitHub removes an ephemeral runner itself; its listener then deletes the configuration."""
    program(verbs(ADDED + SAVED))

    async def life():
        await configured(runner)
        (root.path / ".runner").unlink()
        runner.deregistration.listener_ended(Ended(code, had_job=True), configured=root.configured)
        await runner.deregistration.leave()

    with capture_logs() as events:
        run(loop, life())
    assert events[-1]["rung"] == "github"
    assert len(program.runs()) == 1


@pytest.mark.parametrize(
    ("code", "had_job", "unlink"), [(0, False, True), (-9, True, True), (0, True, False)]
)
def test_in_any_other_case_it_is_removed(runner, root, program, code, had_job, unlink):
    """Without a job, killed, or with the configuration still there: copies are put back first."""
    program(verbs(ADDED + SAVED, "cat .runner; " + REMOVED))

    async def life():
        await configured(runner)
        if unlink:
            (root.path / ".runner").unlink()
        runner.deregistration.listener_ended(
            Ended(code, had_job=had_job), configured=root.configured
        )
        await runner.deregistration.leave()

    run("asyncio", life())
    assert program.runs()[-1].startswith("remove ")


def test_what_a_job_wrote_into_the_configuration_is_not_obeyed(runner, root, program):
    """The runner that is removed is the one that was configured."""
    program(verbs(ADDED + SAVED, "cat .runner >seen\n" + REMOVED))

    async def life():
        await configured(runner)
        (root.path / ".runner").write_text('{"agentName": "somebody-else"}')
        await runner.deregistration.leave()

    run("asyncio", life())
    assert (root.path / "seen").read_text() == '{"agentName": "build-1"}\n'


def test_an_old_token_is_not_tried(runner, program):
    """It would give a bare 404; the log says what happens to the runner instead."""
    program(verbs(ADDED + SAVED, REMOVED))

    async def life():
        await configured(runner)
        late = Deregistration(None, lambda: False)
        late.runner = runner
        await late.leave()

    with pytest.raises(RegistrationError, match="too old; GitHub removes an offline"):
        run("asyncio", life())
    assert len(program.runs()) == 1


@on_both
def test_trouble_in_the_removal_is_retried(loop, runner, program, monkeypatch):
    """No network, then a removal that hangs, then success."""
    monkeypatch.setattr(registration, "REMOVE_TIMEOUT", 0.2)
    program(verbs(ADDED + SAVED, f"case $n in 1) {OFFLINE};; 2) sleep 60;; esac\n" + REMOVED))

    async def life():
        await configured(runner)
        await runner.deregistration.leave()

    run(loop, life())
    assert len(program.runs()) == 4


@pytest.mark.parametrize(
    "said",
    [
        NOT_FOUND,
        "echo 'Cannot connect to server, because config files are missing. Skipping.'; exit 0\n",
    ],
    ids=["404", "files-missing"],
)
def test_a_removal_that_cannot_succeed_is_told(runner, program, said):
    """Also where the program itself calls it a success."""
    program(verbs(ADDED + SAVED, said))

    async def life():
        await configured(runner)
        await runner.cleanup_step.begin()
        return runner.cleanup_step.error

    error = run("asyncio", life())
    assert error.startswith("cannot deregister build-1: ")
    assert len(program.runs()) == 2
