"""The other life: a command that somebody else wrote, with all of the agent but its runner.

`docker run IMAGE sh -c …` and launchers whose task definition brings a command of its own. It
gets signals, credentials from the relay and an end that leaves no process behind; its output and
its exit code are its own. Nothing is registered on its behalf.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import phase, process
from sidecar.aws import task_metadata
from sidecar.errors import Stopped
from sidecar.lifecycle.job_credentials import Access, job_credentials
from sidecar.lifecycle.job_docker import job_docker
from sidecar.lifecycle.runner_life import WARM_TIMEOUT
from sidecar.runner.environment import of_user
from sidecar.shutdown import cleanup
from sidecar.shutdown.stop import DRAIN, INTERRUPT, KILL
from sidecar.status import health_server

if TYPE_CHECKING:
    from sidecar.process import Process
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.stop import Stop
    from sidecar.status.report import Report

log = structlog.get_logger()

SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a command."""


async def live(config: Configuration, stop: Stop, report: Report) -> int:
    """Run the command to its end; the value is its exit code. Raises SidecarError."""
    async with health_server.listening(config.settings.health_address, report):
        try:
            return await _live(config, stop, report)
        except Stopped:
            return SIGNALLED + signal.Signals[stop.signal or "SIGTERM"]
        finally:
            report.phase.enter(phase.STOPPING)


async def _live(config: Configuration, stop: Stop, report: Report) -> int:
    settings = config.settings
    async with AsyncExitStack() as life:
        enter = life.enter_async_context
        await enter(process.reaping())
        access = Access(config)
        await enter(cleanup.run_cleanup(report.cleanup_stack, stop))
        async with stop.cuts():
            task = await task_metadata.task_facts(config.task.metadata_uri, so_mark=access.so_mark)
            credentials = await enter(job_credentials(config, access, task, report.cleanup_stack))
            report.relay = credentials.served
            docker = await enter(job_docker(config, credentials, report.cleanup_stack))
            report.phase.enter(phase.WARMING)
            env = of_user(config.user, docker.led(credentials.without_agents(config.passed_on)))
            env |= await credentials.warmed(
                task.id, WARM_TIMEOUT, config.passed_on, required=settings.relay_required
            )
            command = process.Command(config.command, env, Path.cwd(), config.user)
            child = await enter(process.running(command))
        report.phase.enter(phase.BUSY)
        log.info("command.started", pid=child.pid, program=config.command[0])
        await _ended(child, stop)
        code = await child.ended
        log.info("command.ended", code=code)
        return code if code >= 0 else SIGNALLED - code


async def _ended(child: Process, stop: Stop) -> None:
    """Wait for the command's end; hand every stop signal on, and give it the stop budget."""
    await stop.first(child.ended, level=DRAIN)
    if not stop.requested:
        return
    gone = asyncio.create_task(child.gone())
    try:
        for level in (INTERRUPT, KILL):
            if stop.level < level and not gone.done() and stop.left_until(stop.budget.kill):
                _tell(child, stop.signal or "SIGTERM", gently=level == INTERRUPT)
                await stop.first(gone, level=level, moment=stop.budget.kill)
    finally:
        gone.cancel()
    await child.kill()


def _tell(child: Process, name: str, *, gently: bool) -> None:
    """Hand a stop on. A runner's listener is told alone, the first time.

    It then cancels its job in order and ends with 0, and the script around it goes on to its end:
    a launcher's last line is written. Were all told, the job's steps would die before that.
    """
    listeners = child.interrupt_listeners() if gently else 0
    log.info("command.signalled", signal=name, listeners=listeners)
    if not listeners:
        child.forward(name)
