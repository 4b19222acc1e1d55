"""`runner-sidecar doctor`: examine a set-up, and say what to change."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import stamina.instrumentation

from sidecar import host
from sidecar.doctor import known_secrets, report
from sidecar.doctor.examination import examine
from sidecar.doctor.setup import open_setup
from sidecar.errors import SettingsError
from sidecar.log import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.doctor.examination import Line

HELP = """\
usage: runner-sidecar doctor [--json] [options of run]

Examine this set-up: settings, AWS, network, runner, docker and credentials. In a task, in the
image, or on a laptop, with the variables and options that `run` would have.

A line for each finding: ok, warning, failed, or unknown for what cannot be asked without doing it;
then what was looked at, what is so, and what to change. It changes nothing and shows no secret.
With --json: one document on one line.

Exit code 0: nothing failed. 1: something failed. 11: an option is wrong.
"""

DEBUG = "SIDECAR_LOG_LEVEL"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the help, or examine the set-up; return the exit code."""
    if list(arguments[:1]) in (["--help"], ["-h"]):
        print(HELP, end="")
        return report.WELL
    host.prepare_output()
    as_json = "--json" in arguments
    options = [word for word in arguments if word != "--json"]
    # The log is of a life; here it would only repeat the lines.
    level = "debug" if environ.get(DEBUG, "").strip().lower() == "debug" else "critical"
    events.configure("auto", level, "stderr")
    stamina.instrumentation.set_on_retry_hooks([])
    runner = asyncio.Runner(loop_factory=host.loop_factory())
    try:
        lines = runner.run(_examine(options, environ))
    except SettingsError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return error.exit
    sys.stdout.write((report.write_json if as_json else report.write_text)(lines))
    events.flush()
    # Closing the loop would wait for its threads, and one may still ask a dead name server.
    return host.exit_process(report.choose_exit_code(lines))


async def _examine(options: Sequence[str], environ: Mapping[str, str]) -> list[Line]:
    known_secrets.hide_all(environ)
    async with open_setup(options, environ) as setup:
        return await examine(setup)
