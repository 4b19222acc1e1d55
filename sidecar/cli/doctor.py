"""`runner-sidecar doctor`: examine a set-up, and say what to change."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

import stamina.instrumentation

from sidecar import host
from sidecar.doctor.all_checks import CHECKS, examine
from sidecar.doctor.setup import open_setup
from sidecar.errors import SettingsError
from sidecar.examination import known_secrets, patience, report
from sidecar.examination.patience import Patience
from sidecar.log import events
from sidecar.settings.model import SECRETS, variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from sidecar.examination.lines import Line

HELP = """\
usage: runner-sidecar doctor [--json] [--only CHECK,...] [--seconds N] [--container IMAGE]
                             [options of run]

Examine this set-up: settings, AWS, network, runner, docker and credentials. In a task, in the
image, or on a laptop, with the variables and options that `run` would have.

A line for each finding: ok, warning, failed, or unknown for what cannot be asked without doing it;
then what was looked at, what is so, and what to change. It changes nothing and shows no secret.

--json             one document on one line
--only CHECK,...   these checks alone, by the names that stand in the lines
--seconds N        how long a check may take, 10 by default; all run side by side
--container IMAGE  start one container of an image of the agent, to ask which role it gets; it is
                   removed

Exit code 0: nothing failed. 1: something failed. 11: an option is wrong.
"""

LOG_LEVEL = "SIDECAR_LOG_LEVEL"
SECRET = tuple(map(variable, (*SECRETS, "token_key")))
"""Variables that hold a secret, or say where one is."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the help, or examine the set-up; return the exit code."""
    if list(arguments[:1]) in (["--help"], ["-h"]):
        print(HELP, end="")
        return report.WELL
    host.prepare_output()
    # The log is of a life; here it would only repeat the lines.
    level = "debug" if environ.get(LOG_LEVEL, "").strip().lower() == "debug" else "critical"
    events.configure("auto", level, "stderr")
    stamina.instrumentation.set_on_retry_hooks([])
    runner = asyncio.Runner(loop_factory=host.loop_factory())
    try:
        given, options = _read_arguments(arguments)
        lines = runner.run(_examine(given, options, environ))
    except SettingsError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return error.exit
    sys.stdout.write(report.write_json(lines) if given.json else report.write_text(lines))
    events.flush()
    # Closing the loop would wait for its threads, and one may still ask a dead name server.
    return host.exit_process(report.choose_exit_code(lines))


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as a SettingsError, not with argparse's own exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError."""
        raise SettingsError(f"{message}; see runner-sidecar doctor --help")


def _read_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Separate the doctor's own options from those of `run`. Raises SettingsError."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=patience.DEFAULT)
    parser.add_argument("--only", default=",".join(CHECKS))
    parser.add_argument("--container", default=None)
    given, options = parser.parse_known_args(list(arguments))
    if not patience.LEAST <= given.seconds <= patience.MOST:
        least, most = patience.LEAST, patience.MOST
        raise SettingsError(f"--seconds must be {least:g} to {most:g} (example: --seconds 10)")
    if unknown := set(given.only.split(",")) - set(CHECKS):
        raise SettingsError(
            f"--only names no check: {', '.join(sorted(unknown))} (there are: {', '.join(CHECKS)})"
        )
    return given, options


async def _examine(
    given: argparse.Namespace, options: Sequence[str], environ: Mapping[str, str]
) -> list[Line]:
    known_secrets.hide_all(environ, SECRET)
    checks = {name: check for name, check in CHECKS.items() if name in given.only.split(",")}
    seconds = Patience(given.seconds)
    async with open_setup(options, environ, seconds, given.container) as setup:
        return await examine(setup, checks)
