"""Run the command `doctor`: examine, print the lines, and say by the exit code if one failed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import stamina.instrumentation

from launcher.doctor.all_checks import CHECKS
from launcher.doctor.setup import open_setup
from launcher.errors import SettingsError
from launcher.settings import SECRETS, DoctorSettings, load, variable
from sidecar.examination import known_secrets, patience, report
from sidecar.examination.finding import Finding, failed
from sidecar.examination.lines import Line, run_checks
from sidecar.examination.patience import Patience
from sidecar.log import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWN = ("json", "only", "seconds")
"""Options that are no settings."""


def run(given: dict[str, Any], environ: Mapping[str, str]) -> int:
    """Examine what these options and variables describe; return the exit code.

    Raises SettingsError for an option of its own that is wrong.
    """
    own = {name: given.pop(name) for name in OWN if name in given}
    seconds, checks = _read_seconds(own.get("seconds")), _choose(own.get("only"))
    level = "debug" if environ.get("LAUNCHER_LOG_LEVEL", "").lower() == "debug" else "critical"
    # The log is of launches; here it would only repeat the lines.
    events.configure("auto", level, "stderr")
    stamina.instrumentation.set_on_retry_hooks([])
    known_secrets.hide_all(environ, map(variable, SECRETS))
    try:
        settings, warnings = load(given, environ, DoctorSettings)
    except SettingsError as error:
        lines = [Line("settings", _say_wrong(problem)) for problem in error.problems]
    else:
        lines = asyncio.run(_examine(settings, warnings, environ, checks, Patience(seconds)))
    sys.stdout.write(report.write_json(lines) if own.get("json") else report.write_text(lines))
    events.flush()
    return report.choose_exit_code(lines)


async def _examine(
    settings: DoctorSettings,
    warnings: Sequence[str],
    environ: Mapping[str, str],
    checks: Sequence[str],
    seconds: Patience,
) -> list[Line]:
    chosen = {name: CHECKS[name] for name in checks}
    async with open_setup(settings, warnings, environ, seconds) as setup:
        return await run_checks(setup, chosen, seconds.check)


def _say_wrong(problem: str) -> Finding:
    return failed(problem, "set what the line names; nothing else was looked at")


def _read_seconds(text: str | None) -> float:
    try:
        seconds = patience.DEFAULT if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not patience.LEAST <= seconds <= patience.MOST:
        least, most = patience.LEAST, patience.MOST
        raise SettingsError(f"--seconds must be {least:g} to {most:g} (example: --seconds 10)")
    return seconds


def _choose(text: str | None) -> list[str]:
    """Return the names of the checks that are wanted, in their own order."""
    wanted = set(CHECKS if text is None else text.split(","))
    if unknown := wanted - set(CHECKS):
        shown = ", ".join(sorted(unknown))
        raise SettingsError(f"--only names no check: {shown} (there are: {', '.join(CHECKS)})")
    return [name for name in CHECKS if name in wanted]
