"""The command `sweep`: once or again and again, its exit codes, and its settings."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from launcher import sweep_service
from launcher.errors import Exit, LaunchError, SettingsError
from launcher.interruption import SIGNALS, Interruption
from launcher.settings import SweepSettings, load
from launcher.sweep.findings import Finding, Kind, Outcome, Report
from sidecar.aws.calls import AccessDenied, TransientError

TOKEN = Finding(Kind.TOKEN, "/tokens/1", "its hour is over")
PAT = {"LAUNCHER_GITHUB_PAT": "ghp_canary_canary_canary"}


def read(**options):
    """Read settings as the command has them."""
    return load({key: str(value) for key, value in options.items()}, PAT, SweepSettings)[0]


def make(*outcomes, failed=False, error=None):
    """Make a report with these outcomes."""
    report = Report()
    for outcome in outcomes:
        report.add(TOKEN, outcome, failed=failed)
    if error is not None:
        report.errors.append(error)
    return report


class Sweeper:
    """Gives reports, one after the other; then it is interrupted."""

    def __init__(self, *reports):
        self.reports = list(reports)
        self.at = []

    async def sweep(self):
        """Give the next one."""
        self.at.append(asyncio.get_running_loop().time())
        found = self.reports.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def run(monkeypatch, sweeper, interruption=None, **options):
    """Run the command with a sweeper; return its exit code."""

    @asynccontextmanager
    async def open_sweep(*_):
        yield SimpleNamespace(sweeper=sweeper, pools=None)

    monkeypatch.setattr(sweep_service, "open_sweep", open_sweep)
    settings = read(log_format="json", pause="1", **options)
    return sweep_service.run(settings, None, interruption or Interruption())


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([make()], Exit.DONE),
        ([make(Outcome.KEPT)], Exit.DONE),
        ([make(Outcome.FOUND), make(Outcome.REMOVED)], Exit.DONE),
        ([make(Outcome.FOUND), make(Outcome.KEPT, failed=True)], Exit.LEFT_BEHIND),
        ([make(error=AccessDenied("no"))], Exit.REFUSED),
        ([make(error=TransientError("down"))], Exit.UNAVAILABLE),
        ([TransientError("the table does not answer")], Exit.UNAVAILABLE),
        ([AccessDenied("the table")], Exit.REFUSED),
        ([LaunchError(Exit.SETTINGS, "pools")], Exit.SETTINGS),
        ([None], Exit.DONE),
    ],
)
def test_a_single_sweep_is_two_looks_where_the_first_one_finds_anything(monkeypatch, reports, code):
    """With a pause between; its exit code tells what went wrong."""
    sweeper = Sweeper(*reports)
    assert (run(monkeypatch, sweeper), sweeper.reports) == (code, [])
    if len(sweeper.at) == 2:
        assert sweeper.at[1] - sweeper.at[0] >= 1


def test_a_service_goes_on_after_an_error_until_it_is_stopped(monkeypatch):
    """What failed is swept the next time."""

    class Stopping(Sweeper):
        """Stops the service with its last report."""

        async def sweep(self):
            """Give the next report."""
            if len(self.reports) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return await super().sweep()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with Interruption() as interruption:
            sweeper = Stopping(TransientError("down"), make(), make())
            code = run(monkeypatch, sweeper, interruption=interruption, every="0.01")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (code, sweeper.reports) == (Exit.DONE, [])


@pytest.mark.parametrize(
    ("option", "value", "seconds"),
    [
        ("every", "5m", 300),
        ("every", "90", 90),
        ("pause", "2m", 120),
        ("life_limit", "12h", 43_200),
    ],
)
def test_times_have_units(option, value, seconds):
    """As people write them."""
    assert getattr(read(**{option: value}), option) == seconds


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("every", "soon"),
        ("every", "-5m"),
        ("pause", "0s"),
        ("others_tags", "Name"),
        ("others_names", "a"),
        ("others_paths", "tokens"),
        ("webhook_url", "runners.example.com"),
    ],
)
def test_a_wrong_setting_is_named(option, value):
    """With an example."""
    with pytest.raises(SettingsError) as error:
        read(**{option: value})
    assert error.value.problems[0].startswith(f"LAUNCHER_{option.upper()} ")
    assert "(example: " in error.value.problems[0]
