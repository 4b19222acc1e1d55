"""Run one step of the GitHub Action: start runners, stop them, or clean up after a killed step."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from launcher import start as starting
from launcher.action import inputs, journal
from launcher.action.report import Report, make_command, mask
from launcher.errors import Exit, SettingsError
from launcher.journal import MemoryJournal
from launcher.order_stages import open_stages
from launcher.retries import log_retries
from sidecar.log import masks

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from contextlib import AbstractAsyncContextManager

    from launcher.interruption import Interruption
    from launcher.journal import Journal
    from launcher.launch import Stages

log = structlog.get_logger()

COMMANDS = ("start", "stop", "clean-up")
SECRETS = ("github_pat", "github_app_key")
REFERENCES = ("ssm:", "secretsmanager:", "file:")
OLD_NAMES = {"AWS_ACCESS_ID": "AWS_ACCESS_KEY_ID", "AWS_SECRET_KEY": "AWS_SECRET_ACCESS_KEY"}
"""Variables that PasseiDireto's action documents, and those that AWS's own clients read."""


def main(command: str, environ: MutableMapping[str, str], interruption: Interruption) -> int:
    """Run one step; return its exit code."""
    for old, name in OLD_NAMES.items():
        if environ.get(old) and not environ.get(name):
            environ[name] = environ[old]
    try:
        request = inputs.read("stop" if command == "stop" else "start", environ)
    except SettingsError as error:
        sys.stdout.writelines(make_command("error", problem) + "\n" for problem in error.problems)
        return error.exit
    environ["AWS_REGION"] = request.region  # for clients that AWS's own library makes
    return Step(command, request, environ).run(interruption)


class Step:
    """One step: what it is asked for, and where it tells what it does."""

    def __init__(
        self, command: str, request: inputs.Request, environ: MutableMapping[str, str]
    ) -> None:
        self.command = command
        self.request = request
        self.journal = Path(environ.get("RUNNER_TEMP", "."), f"{request.label}.json")
        output, summary = environ.get("GITHUB_OUTPUT"), environ.get("GITHUB_STEP_SUMMARY")
        self.report = Report(
            request, Path(output) if output else None, Path(summary) if summary else None
        )

    def run(self, interruption: Interruption) -> int:
        """Run the step; return its exit code."""
        self._hide_secrets()
        configure_log(self.report, self.request.settings.log_level)
        for warning in self.request.warnings:
            log.warning("settings.ignored", warning=warning)
        code = asyncio.run(self._run(interruption))
        sys.stdout.flush()
        return code

    def _hide_secrets(self) -> None:
        """Mask the secrets of the inputs in all logs of the job, before anything is logged."""
        for name in SECRETS:
            secret = getattr(self.request.settings, name)
            if secret is not None and not secret.get_secret_value().startswith(REFERENCES):
                self._hide(secret.get_secret_value())

    def _hide(self, secret: str) -> None:
        masks.hide(secret)
        sys.stdout.write(mask(secret))
        sys.stdout.flush()

    async def _run(self, interruption: Interruption) -> Exit:
        match self.command:
            case "start":
                return await self._start(interruption)
            case "stop":
                return await self._stop()
            case _:
                return await self._clean_up()

    async def _start(self, interruption: Interruption) -> Exit:
        order = self.request.order
        self.report.tell_label()  # from here on the step that cleans up knows that this one began
        async with self._open_stages(journal.FileJournal(self.journal)) as stages:
            log.info("start.begun", key=order.key, count=order.count, request=order.request)
            code = await starting.start(order, stages, interruption)
        if code not in (Exit.DONE, Exit.LEFT_BEHIND):
            self.report.tell(cleaned_up="true")
        self.report.write_summary(code)
        return code

    async def _stop(self) -> Exit:
        if not self.request.label:
            warning = "nothing is stopped: the label is empty, as a start that failed leaves it"
            sys.stdout.write(make_command("warning", warning) + "\n")
            return Exit.DONE
        async with self._open_stages(MemoryJournal()) as stages:
            return await starting.stop(self.request.order, stages)

    async def _clean_up(self) -> Exit:
        """Go on where a step was killed: with what it has written down, and what AWS knows."""
        launches = journal.read(self.journal)
        if not launches:
            return Exit.DONE
        async with self._open_stages(journal.FileJournal(self.journal)) as stages:
            left = await starting.clean_up_all(stages, launches, "its workflow was cancelled")
        return Exit.LEFT_BEHIND if left else Exit.DONE

    def _open_stages(self, kept: Journal) -> AbstractAsyncContextManager[Stages]:
        """Open the stages of a launch; their clients are closed with the block."""
        request = self.request
        return open_stages(
            request.settings,
            request.labels,
            kept,
            request.region,
            hide=self._hide,
            **request.more,
        )


def configure_log(report: Report, level: str) -> None:
    """Give each event to the report, which makes a line of it."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, report.take],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    log_retries()


def run(command: str, interruption: Interruption) -> int:
    """Run a step in this process's own environment."""
    return main(command, os.environ, interruption)
