"""Tell whoever starts the agent with no setting at all what to do next."""

import pytest

from sidecar.cli import run
from sidecar.errors import Exit
from sidecar.settings.first_steps import FIRST_STEPS
from sidecar.shutdown.signals import Signals


@pytest.fixture(autouse=True)
def laptop(monkeypatch):
    """Let no machine of EC2 answer."""
    monkeypatch.setattr(run, "_read_machine", lambda *_: ({}, "no answer within 1 s"))


def printed(capsys, options=(), environ=None):
    """Return the lines that `run` prints, which ends with the code of a wrong setting."""
    variables = {"PATH": "/bin", "HOME": "/root", "SIDECAR_LABELS": ""} | (environ or {})
    assert run.main(list(options), variables, Signals()) is Exit.SETTINGS
    return capsys.readouterr().err.splitlines()


def test_without_any_setting_three_lines_say_what_to_do_next(capsys):
    """The demo, the tutorial, the settings; no list of what is missing."""
    lines = printed(capsys)
    assert lines == list(FIRST_STEPS)
    assert len(lines) == 3
    for word in ("make demo", "docs/tutorial.md", "runner-sidecar run --help"):
        assert word in "\n".join(lines)


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        (["--labels", "ecs"], {}),
        ([], {"SIDECAR_LABELS": "ecs"}),
        ([], {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/1"}),
        ([], {"REPO_URL": "https://github.com/o/r", "RUNNER_TOKEN": "x"}),
    ],
)
def test_who_has_begun_gets_every_mistake(capsys, options, environ):
    """A setting, a launcher's variable or a task is a beginning."""
    lines = printed(capsys, options, environ)
    assert FIRST_STEPS[0] not in lines
    assert any("is missing" in line or "holds no" in line for line in lines)
