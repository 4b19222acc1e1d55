"""The units of a machine's own image, judged by systemd-analyze."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "entrypoint"
UNITS = sorted(path.name for path in FOLDER.glob("runner-sidecar*.*"))
AGENT, WATCH = "runner-sidecar.service", "runner-sidecar-watch.service"

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze (Debian's systemd)"
)


def read_unit(name):
    """Return a unit's sections."""
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string((FOLDER / name).read_text())
    return parser


def to_seconds(span):
    """Return the seconds of a time span, as systemd reads it."""
    text = subprocess.run(
        ["systemd-analyze", "timespan", span],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    return int(re.search(r"μs: (\d+)", text)[1]) / 1e6


def verify(folder, changes=()):
    """Verify copies of the units, whose agent is /bin/sh; return the exit code and what is said."""
    for name in UNITS:
        text = (FOLDER / name).read_text().replace("/usr/local/bin/runner-sidecar", "/bin/sh")
        for old, new in changes:
            text = text.replace(old, new)
        (folder / name).write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(folder / name) for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return found.returncode, found.stderr


def test_systemd_understands_them(tmp_path):
    """No unknown key, no value that is ignored; a wrong value is found."""
    assert UNITS == ["runner-sidecar-watch.service", "runner-sidecar-watch.timer", AGENT]
    assert verify(tmp_path) == (0, "")
    _, said = verify(tmp_path, [("OOMPolicy=continue", "OOMPolicy=sometimes")])
    assert "OOM" in said


def test_the_machine_ends_with_the_agent():
    """Whatever its exit code, killed, never started, or too long; and nothing starts it again."""
    unit = read_unit(AGENT)
    assert unit["Unit"]["SuccessAction"] == unit["Unit"]["FailureAction"] == "poweroff"
    assert unit["Service"]["Restart"] == "no"
    assert to_seconds(unit["Service"]["RuntimeMaxSec"]) > 0
    # What it waits for must not keep it from failing: a failed dependency is no failed unit.
    assert not {"Requires", "Requisite", "BindsTo", "ConditionPathExists"} & set(unit["Unit"])


def test_the_agent_has_time_to_clean_up():
    """Systemd kills it only after its own stop budget; the signal is for the agent alone."""
    service = read_unit(AGENT)["Service"]
    budget = int(re.search(r"SIDECAR_STOP_TIMEOUT=(\d+)", service["Environment"])[1])
    assert budget < to_seconds(service["TimeoutStopSec"])
    assert budget < 120, "AWS gives notice of a Spot interruption so many seconds ahead"
    assert service["KillMode"] == "mixed"


def test_a_watch_ends_a_machine_without_an_agent():
    """The timer begins after the boot, and comes again."""
    assert "is-active --quiet runner-sidecar.service ||" in read_unit(WATCH)["Service"]["ExecStart"]
    timer = read_unit("runner-sidecar-watch.timer")["Timer"]
    assert to_seconds(timer["OnBootSec"]) >= 600
    assert to_seconds(timer["OnUnitActiveSec"]) <= 60
