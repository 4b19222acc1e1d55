"""Health checks of containers, as the launcher's doctor judges them."""

import pytest

from launcher.doctor.checks.health import judge
from sidecar import defaults
from sidecar.examination.finding import Level

OWN = ["CMD", "runner-sidecar", "health"]


@pytest.mark.parametrize(
    ("command", "level", "words"),
    [
        (OWN, Level.OK, "asks the agent"),
        (["CMD-SHELL", "runner-sidecar health || exit 1"], Level.OK, "asks the agent"),
        (["CMD-SHELL", "curl -f http://localhost:9190/healthz"], Level.OK, "asks the agent"),
        (["CMD-SHELL", "curl -f http://localhost:9190/readyz"], Level.FAILED, "/readyz"),
        (["CMD-SHELL", "curl -f http://127.0.0.1/"], Level.FAILED, "asks port 80"),
        (["CMD", "test", "-f", "/ready"], Level.UNKNOWN, "test -f /ready"),
        (["NONE"], Level.OK, "no health check"),
    ],
)
def test_a_health_check_asks_the_agent(command, level, words):
    """One that asks for something else kills the task, or nobody here knows it."""
    finding = judge({"command": command, "timeout": 10}, defaults.HEALTH_ADDRESS)
    assert finding.level is level
    assert words in finding.text


def test_no_health_check_is_fine():
    """The task then lives as long as its agent."""
    assert judge(None, defaults.HEALTH_ADDRESS).level is Level.OK


def test_a_hasty_health_check_is_a_warning():
    """A busy machine needs seconds to start the program that asks."""
    finding = judge({"command": OWN, "timeout": 2}, defaults.HEALTH_ADDRESS)
    assert finding.level is Level.WARNING


@pytest.mark.parametrize("command", [OWN, ["CMD-SHELL", "curl http://localhost:9190/healthz"]])
def test_an_agent_that_serves_no_health_is_killed(command):
    """The setting and the health check contradict each other."""
    assert judge({"command": command}, "off").level is Level.FAILED
