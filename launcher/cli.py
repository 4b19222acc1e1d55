"""The commands of `runner-launcher`: options and environment in, JSON lines and exit code out."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import structlog

from launcher import progress
from launcher import start as starting
from launcher.errors import Exit, SettingsError
from launcher.journal import MemoryJournal
from launcher.order_stages import open_stages, read_user_data
from launcher.retries import log_retries
from launcher.settings import MODELS, SECRETS, LogSettings, Settings, load, option
from sidecar import __version__, values
from sidecar.log import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from launcher.interruption import Interruption
    from launcher.launch import Stages

log = structlog.get_logger()

MOST = 100
"""Runners of one order."""
COMMANDS = {
    "start": "start runners, and wait until they are there",
    "stop": "stop what a start with the same key has started and nobody uses",
    "webhook": "take GitHub's webhooks, and put what they demand into the queue",
    "work": "take what is demanded out of the queue, and start a task for each job",
    "serve": "do both, webhook and work, in one process",
    "api": "start runners for callers that prove who they are",
    "sweep": "end tasks, runners and tokens that nobody needs, and find jobs that nobody serves",
    "doctor": "examine launcher and account: what is right, what is wrong, what to change",
    "explain": "tell the story of one job, and the first line that failed",
    "status": "show the pools: waiting, starting, idle, running, failing, limits used",
}
DOCTOR = "doctor"
QUESTIONS = ("explain", "status")
"""Commands that change nothing, and write their answer on standard output."""
SERVICES = ("webhook", "work", "serve", "api", "sweep")
OWN = ("labels", "count", "wait", "timeout", "key")
"""Options that are no settings."""


def main(arguments: Sequence[str], environ: Mapping[str, str], interruption: Interruption) -> int:
    """Run one command; return the exit code."""
    try:
        given = vars(_make_parser().parse_args(list(arguments)))
        command = given.pop("command")
        if command == DOCTOR:
            from launcher.doctor import command as doctor  # late: nobody else needs it

            return doctor.run(given, environ)
        if command in SERVICES:
            return _serve(command, given, environ, interruption)
        if command in QUESTIONS:
            return _ask(command, given, environ, interruption)
        own = {name: given.pop(name) for name in OWN if name in given}
        labels, order, settings, warnings, more = _read(command, own, given, environ)
    except SettingsError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return error.exit
    _begin_log(settings, warnings)
    region = environ.get("AWS_REGION") or None
    opening = open_stages(settings, labels, MemoryJournal(), region, **more)
    code = asyncio.run(_run(command, order, settings, opening, interruption))
    events.flush()
    return code


def _serve(
    command: str,
    given: dict[str, Any],
    environ: Mapping[str, str],
    interruption: Interruption,
) -> int:
    """Run a service until a signal comes; return the exit code."""
    settings, warnings = load(given, environ, MODELS[command])
    _begin_log(settings, warnings)
    region = environ.get("AWS_REGION") or None
    if command == "sweep":
        from launcher import sweep_service  # late: nobody else needs it

        code = sweep_service.run(settings, region, interruption)
    else:
        from launcher import serve  # late: `start` needs no web server

        code = serve.run(settings, region, interruption)
    events.flush()
    return code


def _ask(
    command: str,
    given: dict[str, Any],
    environ: Mapping[str, str],
    interruption: Interruption,
) -> int:
    """Answer a question; return the exit code."""
    from launcher import questions  # late: nobody else needs it

    names = questions.OPTIONS[command]
    asked = questions.read_options({name: given.pop(name) for name in names if name in given})
    settings, warnings = load(given, environ, MODELS[command])
    if "log_level" not in given and "LAUNCHER_LOG_LEVEL" not in environ:
        settings = settings.model_copy(update={"log_level": "error"})  # the answer tells it
    _begin_log(settings, warnings, "stderr")
    code = questions.run(settings, asked, environ.get("AWS_REGION") or None, interruption)
    events.flush()
    return code


def _begin_log(
    settings: LogSettings, warnings: list[str], stream: Literal["stdout", "stderr"] = "stdout"
) -> None:
    events.configure(settings.log_format, settings.log_level, stream)
    log_retries()
    for warning in warnings:
        log.warning("settings.ignored", warning=warning)


async def _run(
    command: str,
    order: starting.Order,
    settings: Settings,
    opening: AbstractAsyncContextManager[Stages],
    interruption: Interruption,
) -> Exit:
    async with AsyncExitStack() as stack:
        stages = await stack.enter_async_context(opening)
        if command == "stop":
            return await starting.stop(order, stages)
        # Before anything is started: `stop --key` then finds what even a SIGKILL leaves.
        log.info("start.begun", key=order.key, count=order.count, request=order.request)
        if progress.can_be_shown(settings.log_format):
            stack.enter_context(progress.showing(order.count, order.wait))
        return await starting.start(order, stages, interruption)


# --- options ------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as a SettingsError, not with argparse's own exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError."""
        raise SettingsError(f"{message}; see {self.prog} --help")


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="runner-launcher",
        description="Start ECS tasks or machines, each with one GitHub Actions runner for one job.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    epilog = (
        "Each setting is also a variable: --task-definition is LAUNCHER_TASK_DEFINITION. Secrets "
        "are variables only: LAUNCHER_GITHUB_PAT, LAUNCHER_GITHUB_APP_KEY, "
        "LAUNCHER_WEBHOOK_SECRETS."
    )
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=epilog,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        if name == "start":
            _add_start_options(command)
        if name == DOCTOR:
            _add_doctor_options(command)
        elif name in QUESTIONS:
            _add_question_options(name, command)
        elif name not in SERVICES:
            command.add_argument(
                "--key", help="name of this order: the same key never starts the same runners twice"
            )
        _add_settings(command, MODELS[name])
    return parser


def _add_start_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels", help="labels of the runners, separated by commas: exactly these, no others"
    )
    parser.add_argument("--count", help="how many runners, 1 to 100; default: 1")
    parser.add_argument("--wait", help="online (default), running or none")
    parser.add_argument("--timeout", help="seconds for all of it; default: 600")


def _add_doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one document on one line")
    parser.add_argument("--only", metavar="CHECK,...", help="these checks alone")
    parser.add_argument("--seconds", help="how long a check may take, 10 by default")


def _add_question_options(name: str, parser: argparse.ArgumentParser) -> None:
    flag: dict[str, Any] = {"action": "store_true"}
    parser.add_argument("--json", help="write JSON", **flag)
    if name == "explain":
        parser.add_argument(
            "what",
            metavar="JOB|TASK|RUNNER|URL",
            help="a job's number, a task's ARN or id, a machine's id, a runner's name, or a URL",
        )
        parser.add_argument("--repository", help="owner/name of a job that is given by its number")
        parser.add_argument("--log", help="file with the agent's or launcher's log; - is stdin")
        return
    parser.add_argument("--live", help="on a terminal: show it again and again", **flag)
    parser.add_argument("--every", help="the same, so many seconds apart; default: 5")


def _add_settings(parser: argparse.ArgumentParser, model: type[LogSettings]) -> None:
    for field, info in model.model_fields.items():
        if field in SECRETS:
            continue
        flag: dict[str, Any] = {"nargs": "?", "const": "true"} if info.annotation is bool else {}
        parser.add_argument(
            option(field), metavar=(info.examples or [""])[0], help=info.description, **flag
        )


def _read(
    command: str, own: dict[str, str], given: dict[str, Any], environ: Mapping[str, str]
) -> tuple[tuple[str, ...], starting.Order, Settings, list[str], dict[str, Any]]:
    """Read labels, order and settings, and what the machines have beside them.

    Raises SettingsError with all mistakes of all of them.
    """
    problems: list[str] = []
    labels = _read_labels(own.get("labels", ""), problems)
    count = _read_number(own.get("count", "1"), "--count", MOST, problems)
    timeout = _read_number(own.get("timeout", "600"), "--timeout", 86400, problems)
    wait, key = own.get("wait", "online"), own.get("key", "")
    if command == "start" and not own.get("labels", "").strip(" ,"):
        problems.append("--labels is missing: no job asks for a runner without labels")
    if command == "stop" and not key:
        problems.append("--key is missing: it says whose runners to stop (start prints it)")
    if wait not in starting.WAITS:
        problems.append(f"--wait must be {', '.join(starting.WAITS)}, not {wait!r}")
    more: dict[str, Any] = {}
    try:
        settings, warnings = load(given, environ)
        if command == "start" and settings.user_data is not None:
            more["user_data"] = read_user_data(settings)
    except SettingsError as error:
        raise SettingsError(*problems, *error.problems) from error
    if problems:
        raise SettingsError(*problems)
    order = starting.Order(
        settings.deployment,
        settings.github_url,
        key or secrets.token_hex(8),
        int(count),
        wait,
        timeout,
        repeated=bool(key),
    )
    return labels, order, settings, warnings, more


def _read_labels(text: str, problems: list[str]) -> tuple[str, ...]:
    try:
        return values.parse_labels(text)
    except ValueError as error:
        problems.append(f"--labels {error}")
        return ()


def _read_number(text: str, name: str, most: int, problems: list[str]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 <= number <= most or (name == "--count" and number != int(number)):
        problems.append(f"{name} must be a number from 1 to {most}, not {text!r}")
        return 1.0
    return number
