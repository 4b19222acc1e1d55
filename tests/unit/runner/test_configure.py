"""Configure and remove, against programs that print what the actions runner prints."""

import asyncio
import itertools
import json
import os
from contextlib import nullcontext
from dataclasses import replace

import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from sidecar.errors import Exit, RegistrationError
from sidecar.runner import configure, deregistration, homes
from sidecar.runner.configure import Busy, Deprecated, Registration
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.loops import on_both, run

TOKEN = "AABBCCDD-SECRET"
CONNECTED = 'printf "√ "; echo "Connected to GitHub"\n'
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

REQUEST = RegistrationRequest(
    "https://github.com/o/r", TOKEN, "build-1", ("a", "b"), False, "g", "_work"
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Retry after a moment, and without the library's own log."""
    growing = configure.growing
    for module in (configure, deregistration):
        monkeypatch.setattr(
            module, "growing", lambda kinds, **_: growing(kinds, first=0.01, longest=0.02)
        )
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def runner(root):
    """Give a registration that was not tried yet, its deregistration, and their cleanup step."""
    made = Registration(root, REQUEST, {"PATH": os.environ["PATH"]})
    made.deregistration = Deregistration(None, lambda: True)
    made.deregistration.runner = made
    made.cleanup_step = CleanupStack().register_step("runner", made.deregistration.deregister)
    return made


def script(configure_lines, remove_lines="exit 9\n"):
    """Write a program of two subcommands; `$n` counts the runs of one, this run included."""
    return (
        'n=$(grep -c "^$1 " runs)\n'
        f'case "$1" in\nconfigure)\n:\n{configure_lines};;\nremove)\n:\n{remove_lines};;\nesac\n'
    )


@pytest.fixture
def limit_run(monkeypatch, cut_when):
    """Give what cuts one run of the program, counted from 1, once it is that far; no other run."""

    def limit(number, is_far):
        run_program, numbers = configure.run_program, itertools.count(1)

        async def run_limited(*given, **more):
            with cut_when(is_far) if next(numbers) == number else nullcontext():
                return await run_program(*given, **more)

        monkeypatch.setattr(configure, "run_program", run_limited)

    return limit


async def register(runner, grace=0.0):
    """Register; a run that a stop interrupts may finish for `grace` seconds."""

    async def wait_at_stop(ended):
        await asyncio.wait([ended], timeout=grace)

    await runner.register(wait_at_stop)


class Ended:
    """A listener that has ended."""

    def __init__(self, code, *, had_job):
        self.ended = asyncio.get_running_loop().create_future()
        self.ended.set_result(code)
        self.had_job = had_job


# --- register -----------------------------------------------------------------------------------


@on_both
def test_a_runner_is_registered_and_removed(loop, runner, root, program):
    """Ephemeral, unattended, without updates; the token is no argument."""
    program(script(ADDED + SAVED, REMOVED))

    async def life():
        await register(runner)
        assert runner.complete
        assert root.is_configured
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done

    with capture_logs() as events:
        run(loop, life())
    assert program.runs() == [
        f"configure {' '.join(REQUEST.arguments(replaces=False))} token={TOKEN}",
        f"remove token={TOKEN}",
    ]
    logged = [(event["event"], event.get("rung")) for event in events]
    assert ("runner.registered", None) in logged
    assert logged[-1] == ("runner.deregistered", "program")
    assert TOKEN not in repr((events, runner.registration_request))


def test_an_outdated_program_has_its_own_exit_code(runner, program):
    """GitHub does not register a runner that is too old: no second try, and exit code 21."""
    line = "Runner version v2.300.0 is deprecated and cannot be registered."
    program(script(f"echo '{line}' >&2; exit 1\n"))
    with pytest.raises(RegistrationError, match="build the image anew") as raised:
        run("asyncio", register(runner))
    assert raised.value.exit is Exit.DEPRECATED
    assert len(program.runs()) == 1


def test_a_refusal_as_outdated_is_no_lost_answer(runner, program):
    """GitHub has refused it: there is no runner that might be ours, and nothing to remove."""
    line = "Runner version v2.336.0 is deprecated and cannot receive messages."
    program(script(CONNECTED + f"echo '{line}' >&2; exit 1\n"))
    runner.registration_request = replace(REQUEST, unique=True)

    async def life():
        with pytest.raises(Deprecated):
            await register(runner)
        assert not runner.exists
        await runner.cleanup_step.begin()

    run("asyncio", life())
    assert len(program.runs()) == 1


@pytest.mark.parametrize("name", ["old", "build-1"])
def test_an_old_configuration_is_not_taken_for_the_new_runner(runner, root, program, name):
    """Configure refuses a configured folder: that is final, whatever name is in it."""
    (root.path / ".runner").write_text(json.dumps({"agentName": name}))
    program(
        script(
            "echo 'Cannot configure the runner because it is already configured. To reconfigure "
            "the runner, run config.cmd remove or ./config.sh remove first.' >&2; exit 1\n"
        )
    )
    with pytest.raises(RegistrationError, match=r"already configured.*SIDECAR_RUNNER_DIR"):
        run("asyncio", register(runner))
    assert not runner.complete
    assert len(program.runs()) == 1


REFUSED = (
    "echo 'Http response code: {name} from '\\''POST https://x'\\'' (Request Id: af62)' >&2\n"
    'echo \'{{"message": "{message}"}}\' >&2\n'
    "echo 'Response status code does not indicate success: {status}.' >&2; exit 1\n"
)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            REFUSED.format(name="Forbidden", message="No access", status="403 (Forbidden)"),
            r": No access \(403 \(Forbidden\)\) \(may runners be registered at",
        ),
        (
            REFUSED.format(name="NotFound", message="Not Found", status="404 (Not Found)"),
            r": Not Found \(404 \(Not Found\)\) \(is the token younger than an hour",
        ),
        (
            REFUSED.format(
                name="UnprocessableEntity", message="Bad label", status="422 (Unprocessable Entity)"
            ),
            r": Bad label \(422 \(Unprocessable Entity\)\)$",
        ),
        (
            CONNECTED
            + "echo 'Could not find any self-hosted runner group named \"nope\".' >&2; exit 1\n",
            r'group named "nope"\. \(is SIDECAR_RUNNER_GROUP right\?\)',
        ),
    ],
    ids=["403", "404", "422", "group"],
)
def test_a_refusal_has_github_s_words_and_a_hint_that_fits(runner, program, lines, message):
    """Not every refusal is about the token."""
    program(script(lines))
    with pytest.raises(RegistrationError, match=message):
        run("asyncio", register(runner))
    assert len(program.runs()) == 1


@on_both
def test_configure_and_remove_have_a_home_that_no_job_had(loop, runner, root, program):
    """Each call has a new one, with a folder for configurations; it is removed after the call."""
    look = 'echo "$HOME $XDG_CONFIG_HOME" >>homes; [ -w "$XDG_CONFIG_HOME" ] || exit 8\n'
    program(script(look + ADDED + SAVED, look + REMOVED))
    runner._env = {**runner._env, "HOME": "/home/job", "XDG_CONFIG_HOME": "/home/job/conf"}

    async def life():
        await register(runner)
        await runner.deregistration.deregister()

    run(loop, life())
    homes = [line.split() for line in (root.path / "homes").read_text().splitlines()]
    assert len({home for home, _ in homes}) == 2
    for home, config in homes:
        assert config == f"{home}/.config"
        assert "/home/job" not in home
        assert not os.path.lexists(home)
    assert list(root.state.iterdir()) == []


BELIEVE = (
    'for folder in "$HOME/.config" "$XDG_CONFIG_HOME"; do\n'
    '    [ ! -e "$folder/GitHub/ActionsService/8.0/Cache/address" ] || echo "$1 leaked" >>leaks\n'
    "done\n"
)
"""What the runner's client does: it believes the addresses that it finds in its cache."""


@pytest.mark.parametrize("mended", [False, True])
def test_a_planted_address_gets_no_token(runner, root, program, tmp_path, monkeypatch, mended):
    """A job may write into its home: no call that has the token reads there.

    Without the home of its own, each call would believe the planted address.
    """
    if not mended:
        monkeypatch.setattr(homes, "use_home", lambda env, _: dict(env))
    cache = tmp_path / "home" / ".config/GitHub/ActionsService/8.0/Cache"
    cache.mkdir(parents=True)
    (cache / "address").write_text("http://planted")
    program(script(BELIEVE + ADDED + SAVED, BELIEVE + REMOVED))
    runner._env = {**runner._env, "HOME": str(tmp_path / "home")}

    async def life():
        await register(runner)
        await runner.deregistration.deregister()

    run("asyncio", life())
    leaks = root.path / "leaks"
    found = leaks.read_text().splitlines() if leaks.exists() else []
    assert found == ([] if mended else ["configure leaked", "remove leaked"])


@on_both
def test_a_taken_name_gets_a_suffix(loop, runner, program):
    """Two tasks with one name do not replace each other's runner."""
    taken = 'echo "A runner exists with the same name build-1." >&2; exit 1\n'
    program(script(f"if [ $n = 1 ]; then {taken}fi\n" + ADDED + SAVED, REMOVED))

    async def life():
        await register(runner)

    run(loop, life())
    assert runner.registration_request.name.startswith("build-1-")
    assert len(runner.registration_request.name) == len("build-1-") + 6
    first, second = program.runs()
    assert "--name build-1 " in first
    assert f"--name {runner.registration_request.name} " in second
    assert "--replace" not in second


def test_a_name_is_not_changed_for_ever(runner, program):
    """If every name is taken, another thing is wrong."""
    program(script('echo "A runner exists with the same name x." >&2; exit 1\n'))
    with pytest.raises(RegistrationError, match=r"the name build-1-\S+ is taken \(SIDECAR_NAME\)"):
        run("asyncio", register(runner))
    assert len(program.runs()) == configure.RENAMES
    assert not runner.complete


@on_both
def test_a_refusal_is_not_retried(loop, runner, root, program):
    """GitHub answers 404 to an expired token; it is not asked again."""
    program(script(NOT_FOUND))

    async def life():
        with pytest.raises(RegistrationError, match=r"NotFound.*younger than an hour"):
            await register(runner)
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done

    with capture_logs() as events:
        run(loop, life())
    assert len(program.runs()) == 1
    assert events[-1]["rung"] == "never-registered"


@on_both
def test_a_network_failure_is_retried(loop, runner, program):
    """Two failures, then success."""
    program(script(f"if [ $n -lt 3 ]; then {OFFLINE}fi\n" + ADDED + SAVED, REMOVED))
    run(loop, register(runner))
    assert runner.complete
    assert len(program.runs()) == 3


def test_a_network_failure_is_not_retried_for_ever(runner, program):
    """The error has the last reason."""
    program(script(OFFLINE))
    with pytest.raises(RegistrationError, match=r"/o/r: Name or service not known"):
        run("asyncio", register(runner))
    assert len(program.runs()) == configure.ATTEMPTS


def test_a_configure_that_hangs_has_an_end(runner, root, program, limit_run, monkeypatch):
    """It is killed, and tried again as after any transient error."""
    limit_run(1, program.runs)
    program(script("if [ $n = 1 ]; then sleep 60; fi\n" + ADDED + SAVED))
    run("asyncio", register(runner))
    assert len(program.runs()) == 2
    (root.path / ".runner").unlink()
    monkeypatch.setattr(configure, "ATTEMPTS", 1)
    monkeypatch.setattr(configure, "CONFIGURE_TIMEOUT", 0.1)
    program(script("sleep 60\n"))
    with pytest.raises(RegistrationError, match=r"no end after 0\.1 s"):
        run("asyncio", register(runner))


@pytest.mark.parametrize("then", ["sleep 60\n", "kill -ABRT $$\n"])
def test_a_configure_that_fails_on_its_way_out_has_register(runner, root, program, limit_run, then):
    """A second try would only fail with "already configured"."""
    if then.startswith("sleep"):
        limit_run(1, (root.path / ".credentials").exists)  # which is written last
    program(script(ADDED + SAVED + then, REMOVED))
    run("asyncio", register(runner))
    assert runner.complete
    assert len(program.runs()) == 1


def test_a_refusal_before_the_listener_s_end_is_retried(runner, root, program):
    """It had a job when GitHub was asked, and has ended when the answer comes."""
    busy = f"if [ $n = 1 ]; then echo >asked; read go <go\n{BUSY}fi\n"
    program(script(ADDED + SAVED, busy + REMOVED))
    os.mkfifo(root.path / "go")

    async def life():
        await register(runner)
        leaving = runner.cleanup_step.begin()
        while not (root.path / "asked").exists():
            await asyncio.wait([leaving], timeout=0.01)
        runner.deregistration.set_listener_ended(Ended(0, had_job=False), configured=True)
        await asyncio.to_thread((root.path / "go").write_text, "on\n")
        await leaving
        assert runner.cleanup_step.done, runner.cleanup_step.error

    run("asyncio", life())
    assert [line.split()[0] for line in program.runs()] == ["configure", "remove", "remove"]


@on_both
def test_an_incomplete_registration_is_replaced(loop, runner, program):
    """Added at GitHub, then a failure: the next try replaces the runner, which is its own."""
    program(script(ADDED + f"if [ $n = 1 ]; then {OFFLINE}fi\n" + SAVED))
    run(loop, register(runner))
    first, second = program.runs()
    assert "--replace" not in first
    assert "--replace" in second


# --- deregister ---------------------------------------------------------------------------------


def test_without_a_try_there_is_nothing_to_remove(runner, program):
    """A stop may come before the first try."""
    program(script(""))

    async def life():
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done

    run("asyncio", life())
    assert program.runs() == []


@on_both
def test_a_stop_during_configure_leaves_no_runner(loop, runner, root, program):
    """Configure ends within the grace, and its runner is removed."""
    program(script(ADDED + "echo >added; read go <go\n" + SAVED, REMOVED))
    os.mkfifo(root.path / "go")

    async def life():
        held = os.open(root.path / "go", os.O_RDWR)
        task = asyncio.create_task(register(runner, grace=20))
        while not (root.path / "added").exists():
            await asyncio.wait([task], timeout=0.01)
        task.cancel()
        await asyncio.sleep(0)
        os.write(held, b"on\n")
        await asyncio.wait([task])
        os.close(held)
        assert task.cancelled()
        assert not runner.complete
        assert root.is_configured
        await runner.cleanup_step.begin()
        assert runner.cleanup_step.done
        assert not root.is_configured

    run(loop, life())
    assert [line.split()[0] for line in program.runs()] == ["configure", "remove"]


@on_both
def test_a_runner_without_saved_keys_is_replaced_and_removed(loop, runner, root, program):
    """Configure was killed before it saved them; network errors meanwhile are retried."""
    program(
        script(
            ADDED + f"case $n in 1) echo >added; exec sleep 60;; 2) {OFFLINE};; esac\n" + SAVED,
            f"if [ $n = 1 ]; then {OFFLINE}fi\n" + REMOVED,
        )
    )

    async def life():
        task = asyncio.create_task(register(runner))
        while not (root.path / "added").exists():
            await asyncio.wait([task], timeout=0.01)
        task.cancel()
        await asyncio.wait([task])
        assert not root.is_configured
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
    """A refusal is an error while the job runs, and is retried when the listener has ended."""
    program(script(ADDED + SAVED, f"if [ $n -lt 3 ]; then {BUSY}fi\n" + REMOVED))

    async def life():
        await register(runner)
        message = "cannot deregister build-1: it is still running a job"
        with pytest.raises(RegistrationError, match=message) as refused:
            await runner.deregistration.deregister()
        assert isinstance(refused.value.__cause__, Busy)
        assert runner.deregistration.busy
        runner.deregistration.set_listener_ended(Ended(-9, had_job=True), configured=True)
        await runner.deregistration.deregister()

    run(loop, life())
    assert len(program.runs()) == 4


@pytest.mark.parametrize(
    ("code", "had_job", "unlink"), [(0, False, True), (-9, True, True), (0, True, False)]
)
def test_in_any_other_case_it_is_removed(runner, root, program, code, had_job, unlink):
    """Without a job, killed, or still configured: copies are restored first."""
    program(script(ADDED + SAVED, "cat .runner; " + REMOVED))

    async def life():
        await register(runner)
        if unlink:
            (root.path / ".runner").unlink()
        runner.deregistration.set_listener_ended(
            Ended(code, had_job=had_job), configured=root.is_configured
        )
        await runner.deregistration.deregister()

    run("asyncio", life())
    assert program.runs()[-1].startswith("remove ")


def test_a_service_file_does_not_keep_the_runner(runner, root, program):
    """`remove` refuses beside one; no agent has one, so a job wrote it."""
    program(script(ADDED + SAVED, "[ ! -e .service ] || exit 1\n" + REMOVED))

    async def life():
        await register(runner)
        (root.path / ".service").write_text("x")
        await asyncio.wait_for(runner.deregistration.deregister(), 60)

    run("asyncio", life())
    assert len(program.runs()) == 2


def test_a_runner_that_github_does_not_know_is_removed(runner, program):
    """GitHub answers 404 to the deletion: there is nothing left to remove."""
    gone = REFUSED.format(name="NotFound", message="Not Found", status="404 (Not Found)")
    program(script(ADDED + SAVED, gone.replace("POST", "Delete")))

    async def life():
        await register(runner)
        await runner.deregistration.deregister()

    run("asyncio", life())
    assert len(program.runs()) == 2


def test_a_job_cannot_change_which_runner_is_removed(runner, root, program):
    """Its changes to the configuration are not obeyed."""
    program(script(ADDED + SAVED, "cat .runner >seen\n" + REMOVED))

    async def life():
        await register(runner)
        (root.path / ".runner").write_text('{"agentName": "another"}')
        await runner.deregistration.deregister()

    run("asyncio", life())
    assert (root.path / "seen").read_text() == '{"agentName": "build-1"}\n'


def test_an_old_token_is_not_tried(runner, program):
    """GitHub would only answer 404; the error says what happens to the runner."""
    program(script(ADDED + SAVED, REMOVED))

    async def life():
        await register(runner)
        late = Deregistration(None, lambda: False)
        late.runner = runner
        await late.deregister()

    with pytest.raises(RegistrationError, match="too old; GitHub removes an offline"):
        run("asyncio", life())
    assert len(program.runs()) == 1


@on_both
def test_a_transient_error_of_remove_is_retried(loop, runner, program, limit_run):
    """No network, then a removal that hangs, then success."""
    limit_run(3, lambda: len(program.runs()) == 3)
    program(script(ADDED + SAVED, f"case $n in 1) {OFFLINE};; 2) sleep 60;; esac\n" + REMOVED))

    async def life():
        await register(runner)
        await runner.deregistration.deregister()

    run(loop, life())
    assert len(program.runs()) == 4


@pytest.mark.parametrize(
    "lines",
    [
        NOT_FOUND,
        "echo 'Cannot connect to server, because config files are missing. Skipping.'; exit 0\n",
    ],
    ids=["404", "files-missing"],
)
def test_a_removal_that_cannot_succeed_is_an_error(runner, program, lines):
    """Also where the program itself reports success."""
    program(script(ADDED + SAVED, lines))

    async def life():
        await register(runner)
        await runner.cleanup_step.begin()
        return runner.cleanup_step.error

    error = run("asyncio", life())
    assert error.startswith("cannot deregister build-1: ")
    assert len(program.runs()) == 2
