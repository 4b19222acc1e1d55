"""A program that configures the log in one test writes no line of the next: see conftest.py."""

import structlog
from structlog.testing import capture_logs

from sidecar.log import events

log = structlog.get_logger()


def test_a_program_configures_the_log(capsys):
    """The agent's own configuration is in force, and its logger is used."""
    events.configure("json", "info")
    log.info("part.done")
    assert '"part.done"' in capsys.readouterr().out


def test_a_later_test_still_captures():
    """The logger was used under one configuration before; another one is in force now."""
    events.configure("json", "info")
    with capture_logs() as captured:
        log.info("part.done")
    assert captured == [{"event": "part.done", "log_level": "info"}]
