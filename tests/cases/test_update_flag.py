"""A GitHub server that does not know `--disableupdate`: it adds the runner, then refuses it."""

import getpass
import os
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import Exit, RegistrationError
from sidecar.lifecycle.registration_request import make_request
from sidecar.runner import configure
from sidecar.runner.configure import Registration
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.settings.load import load
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import on_both, run
from tests.unit.conftest import spare_children  # noqa: F401  a fixture
from tests.unit.runner.conftest import program, root  # noqa: F401  fixtures

REFUSED = (
    'echo "√ Connected to GitHub"; echo "The GitHub server does not support configuring a '
    "self-hosted runner with '%s' flag.\" >&2; exit 1"
)
ADDED = 'echo "√ Runner successfully added"; echo \'{"agentName": "n"}\' >.runner'
OLD_SERVER = f"""
case "$*" in
*--disableupdate*) {REFUSED % "DisableUpdate"};;
*) {ADDED};;
esac
"""
REQUEST = RegistrationRequest("https://x/o/r", "T", "n", (), False, None, "_work")


def make(folder, **more):
    """Make a registration that was not tried yet."""
    return Registration(folder, replace(REQUEST, **more), {"PATH": os.environ["PATH"]})


@on_both
@pytest.mark.parametrize("unique", [True, False])
def test_it_is_tried_once_without_the_flag(loop, root, program, unique):  # noqa: F811
    """The runner that was added is ours, whatever its name: the second try replaces it."""
    program(OLD_SERVER)
    runner = make(root, unique=unique)
    with capture_logs() as events:
        run(loop, runner.register())
    first, second = program.runs()
    assert "--disableupdate" in first
    assert "--replace" not in first
    assert "--disableupdate" not in second
    assert "--replace" in second
    assert runner.complete
    (said,) = [event for event in events if event["event"] == "runner.update_flag_refused"]
    assert "SIDECAR_DISABLE_UPDATE=false" in said["reason"]


def test_without_the_mend_the_runner_is_never_registered(root, program, monkeypatch):  # noqa: F811
    """The switch of this file: every refusal of a flag is final."""
    program(OLD_SERVER)
    monkeypatch.setattr(configure, "NO_UPDATE_FLAG", "nothing that it prints")
    with pytest.raises(RegistrationError, match="'DisableUpdate' flag"):
        run("asyncio", make(root).register())
    assert len(program.runs()) == 1


def test_the_setting_leaves_the_flag_out(root, program):  # noqa: F811
    """Then there is one try, and nothing is said."""
    program(OLD_SERVER)
    with capture_logs() as events:
        run("asyncio", make(root, disable_update=False).register())
    assert len(program.runs()) == 1
    assert "runner.update_flag_refused" not in [event["event"] for event in events]


def test_a_server_that_refuses_it_twice_ends_the_life(root, program):  # noqa: F811
    """One more try, not one after the other; the runner may exist, so the end removes it."""
    program(REFUSED % "DisableUpdate")
    runner = make(root)
    with pytest.raises(RegistrationError, match="SIDECAR_DISABLE_UPDATE") as refused:
        run("asyncio", runner.register())
    assert refused.value.exit is Exit.REGISTRATION
    assert len(program.runs()) == 2
    assert runner.exists


def test_a_server_too_old_for_runners_of_one_job_is_named_so(root, program):  # noqa: F811
    """The agent runs no other kind; it is not tried again, and what was added is removed."""
    program(REFUSED % "Ephemeral")
    runner = make(root)
    with pytest.raises(RegistrationError, match="too old for runners of one job"):
        run("asyncio", runner.register())
    assert len(program.runs()) == 1
    assert runner.exists


@pytest.mark.parametrize(("given", "has_flag"), [({}, True), ({"DISABLE_UPDATE": "false"}, False)])
def test_the_setting_reaches_the_program(tmp_path, given, has_flag):
    """As each setting, by its variable."""
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    environ = {
        "SIDECAR_TOKEN_PARAMETER": "/t",
        "SIDECAR_RUNNER_DIR": str(tmp_path),
        "SIDECAR_RUNNER_USER": getpass.getuser(),
        **{f"SIDECAR_{name}": value for name, value in given.items()},
    }
    token = RegistrationToken("T", url="https://github.com/o/r")
    request = make_request(load([], environ).settings, token, TaskFacts())
    assert ("--disableupdate" in request.arguments(replaces=False)) == has_flag
