"""The life of a command: everything that the agent does for a runner, except to register one.

For `docker run IMAGE sh -c ...`, and for launchers whose task definition brings its own command.
The command gets signals and the relay's credentials, and no process of it stays. Its output and
its exit code are its own.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import phase, process
from sidecar.errors import Stopped
from sidecar.lifecycle.facts import read_facts
from sidecar.lifecycle.job_credentials import Access, job_credentials, read_outward_routes
from sidecar.lifecycle.job_docker import job_docker
from sidecar.lifecycle.job_registries import add_registries
from sidecar.lifecycle.runner_life import WARM_TIMEOUT
from sidecar.net.library_variables import set_for_libraries
from sidecar.net.marked_sockets import hold_routes
from sidecar.runner.environment import variables_for_user
from sidecar.runner.user_processes import own_user
from sidecar.shutdown.cleanup import run_cleanup
from sidecar.shutdown.stop import DRAIN, INTERRUPT, KILL
from sidecar.status.health_server import serve_health

if TYPE_CHECKING:
    from sidecar.net.marked_sockets import OutwardRoutes
    from sidecar.process import Process
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.stop import Stop
    from sidecar.status.report import Report

log = structlog.get_logger()

SIGNAL_BASE = 128
"""A shell's exit code for a command that a signal ended is this plus the signal's number."""


async def live(config: Configuration, stop: Stop, report: Report) -> int:
    """Run the command to its end; return its exit code. Raises SidecarError."""
    settings = config.settings
    async with serve_health(settings.health_address, report, settings.runner_dir):
        try:
            return await _live(config, stop, report)
        except Stopped:
            return SIGNAL_BASE + signal.Signals[stop.signal or "SIGTERM"]
        finally:
            report.phase.enter(phase.STOPPING)


async def _live(config: Configuration, stop: Stop, report: Report) -> int:
    async with AsyncExitStack() as exit_stack:
        enter = exit_stack.enter_async_context
        routes = exit_stack.enter_context(hold_routes())
        exit_stack.enter_context(set_for_libraries(config.passed_on))
        await enter(process.collect_orphans())
        await own_user(config.user)
        access = Access(config)
        await enter(run_cleanup(report.cleanup_stack, stop))
        async with stop.cuts():
            child = await _start(config, access, report, stop, exit_stack, routes)
        report.phase.enter(phase.BUSY)
        log.info("command.started", pid=child.pid, program=config.command[0])
        await _wait_for_end(child, stop)
        code = await child.ended
        log.info("command.ended", code=code)
        return code if code >= 0 else SIGNAL_BASE - code


async def _start(
    config: Configuration,
    access: Access,
    report: Report,
    stop: Stop,
    exit_stack: AsyncExitStack,
    routes: OutwardRoutes,
) -> Process:
    """Serve credentials and docker, and start the command."""
    enter = exit_stack.enter_async_context
    facts = await read_facts(config, so_mark=access.so_mark)
    read_outward_routes(routes, access, facts)
    credentials = await enter(job_credentials(config, access, facts, report.cleanup_stack))
    report.relay = credentials.relay
    docker = await enter(
        job_docker(config, credentials, report.cleanup_stack, stop, routes.on_network)
    )
    docker.allow_binds(config.settings.runner_dir / (docker.work_dir or config.settings.work_dir))
    report.phase.enter(phase.WARMING)
    env = variables_for_user(
        config.user, docker.set_variables(credentials.remove_agent_variables(config.passed_on))
    )
    env |= await credentials.wait_for_credentials(
        facts.id, WARM_TIMEOUT, config.passed_on, required=config.settings.relay_required
    )
    env |= await add_registries(config, facts, env, report.cleanup_stack)
    command = process.Command(config.command, env, Path.cwd(), config.user)
    return await enter(process.run_child(command))


async def _wait_for_end(child: Process, stop: Stop) -> None:
    """Wait for the command's end; forward every stop signal, and kill it when the budget is up."""
    await stop.wait_for_first(child.ended, level=DRAIN)
    if not stop.requested:
        return
    await process.user_kill.slow_down()
    gone = asyncio.create_task(child.wait_for_tree())
    try:
        for level in (INTERRUPT, KILL):
            if stop.level < level and not gone.done() and stop.left_until(stop.budget.kill):
                _forward(child, stop.signal or "SIGTERM", first=level == INTERRUPT)
                await stop.wait_for_first(gone, level=level, moment=lambda budget: budget.kill)
    finally:
        gone.cancel()
    await child.kill()


def _forward(child: Process, name: str, *, first: bool) -> None:
    """Forward a stop signal: the first one only to a runner's listener, if there is one.

    The listener then cancels its job and ends with 0, and the script around it goes on to its end.
    If every process got the signal, the job's steps would die before the listener cancels them.
    """
    listeners = child.interrupt_listeners() if first else 0
    reason = None if listeners else child.forward_signal(name)
    if reason is None:
        log.info("command.signalled", signal=name, listeners=listeners)
    else:
        log.warning("command.signal_failed", signal=name, reason=reason)
