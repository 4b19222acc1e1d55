"""One life, told once: what is acquired, in which order, and so what is given back.

Entering acquires and leaving undoes, in the reverse order. A stop may cut the acquiring, never
the undoing; once the listener runs, a stop is a step of the life itself: the drain.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sidecar import phase, process, tokens
from sidecar.aws import task_metadata
from sidecar.errors import Exit, Stopped
from sidecar.lifecycle import registration, registration_request
from sidecar.lifecycle.drain import Drain
from sidecar.lifecycle.job_credentials import Access, job_credentials
from sidecar.lifecycle.job_docker import job_docker
from sidecar.lifecycle.protection import protecting
from sidecar.lifecycle.supervision import supervise
from sidecar.lifecycle.watches import Watches
from sidecar.runner import age, hooks, killed_agent
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.diagnostics import Diagnostics
from sidecar.runner.environment import environment
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.listener import Listener, listening
from sidecar.runner.workspace import NAME, workspace
from sidecar.shutdown import cleanup
from sidecar.status import health_server

if TYPE_CHECKING:
    from sidecar import github
    from sidecar.lifecycle.job_credentials import JobCredentials
    from sidecar.lifecycle.job_docker import JobDocker
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.stop import Stop
    from sidecar.status.report import Report

WARM_TIMEOUT = 5.0
"""Seconds that a runner waits for the relay's first credentials before it takes jobs without."""


async def live(config: Configuration, stop: Stop, report: Report) -> Exit:
    """Live one life; the value is the process's exit code. Raises SidecarError."""
    async with health_server.listening(config.settings.health_address, report):
        try:
            exit_code = await _live(config, stop, report)
        finally:
            report.phase.enter(phase.STOPPING)
    left_behind = exit_code is Exit.DONE and report.cleanup_stack.not_done
    return Exit.LEFT_BEHIND if left_behind else exit_code


async def _live(config: Configuration, stop: Stop, report: Report) -> Exit:
    async with AsyncExitStack() as undone:
        life = _Life(config, stop, report, undone)
        await life.begun()
        try:
            async with stop.cuts():
                await life.surrounded()
                await life.registered()
                await life.listened()
        except Stopped:
            if life.runner is None or not life.runner.complete:
                raise
            return Exit.DONE
        return await life.lived()


class _Life:
    """One life, as far as it has come: each verb acquires, and stands on those before it."""

    access: Access
    api: github.Connection | None
    source: registration.Source
    task: task_metadata.TaskFacts
    credentials: JobCredentials
    docker: JobDocker
    env: dict[str, str]
    """What the runner sees."""
    deregistration: Deregistration
    cleanup_step: cleanup.CleanupStep

    def __init__(
        self, config: Configuration, stop: Stop, report: Report, undone: AsyncExitStack
    ) -> None:
        self.config = config
        self.settings = config.settings
        self.stop = stop
        self.report = report
        self.now = report.phase
        self.cleanup_stack = report.cleanup_stack
        self.born = asyncio.get_running_loop().time()
        self.root = RunnerFolder(self.settings.runner_dir, config.user)
        self.listener = Listener(self.now)
        self.diagnosis = Diagnostics(self.root)
        self.runner: registration.Runner | None = None
        self._undone = undone
        self._enter = undone.enter_async_context

    async def begun(self) -> None:
        """Owe from here on, and find out whom to ask for the right to register."""
        config = self.config
        await self._enter(process.reaping())
        self.access = Access(config)
        store = await self._enter(tokens.Store(config.task.region, self.access.session))
        self.api = registration.connection(config, self.access.secret_reader(config.task.region))
        if self.api is not None:
            await self._enter(self.api)
        self._undone.callback(self.diagnosis.after_farewell, self.cleanup_stack)
        await self._enter(cleanup.run_cleanup(self.cleanup_stack, self.stop))
        self.before = killed_agent.found(
            self.root, self.cleanup_stack, self.api, self.settings.github_url
        )
        self.source = registration.source(self.settings, store, self.api, self.cleanup_stack)

    async def surrounded(self) -> None:
        """Put up what a job finds: its credentials, and its way to docker."""
        config = self.config
        self.task = await task_metadata.task_facts(
            config.task.metadata_uri, so_mark=self.access.so_mark
        )
        self.credentials = await self._enter(
            job_credentials(config, self.access, self.task, self.cleanup_stack)
        )
        self.report.relay = self.credentials.served
        self.docker = await self._enter(job_docker(config, self.credentials, self.cleanup_stack))

    async def registered(self) -> None:
        """Wait for the right to register, and register."""
        self.now.enter(phase.WAITING)
        right = await self.source.arrived(self.settings.token_timeout)

        self.now.enter(phase.CONFIGURING)
        root, cleanup_stack, user = self.root, self.cleanup_stack, self.config.user
        root.prepare()
        age.warn(root)
        passed_on = self.docker.led(self.credentials.without_agents(self.config.passed_on))
        self.env = environment(passed_on, user)
        request = registration_request.decide(self.settings, right, self.task, self.docker.work_dir)
        alone = right.work_dir is None and NAME in self.settings.work_dir
        await self._enter(workspace(root.path, request.work_dir, user, cleanup_stack, alone=alone))
        if self.before is not None:
            await self.before.departed(request, self.env, right, self.source.usable)
        self.deregistration = Deregistration(self.api, self.source.usable, root.memory.erase_own)
        self.cleanup_step = cleanup_stack.register_step("runner", self.deregistration.leave)
        patience = self.settings.token_timeout
        runner = registration.runner(root, request, self.env, right, self.api, patience)
        self.runner = self.deregistration.runner = runner
        with self.diagnosis.failing("configure"):
            await runner.register(self.stop.finished)
        self.source.served()  # deleting the token is off the job's way
        root.describe(self.task)
        self.now.enter(phase.WARMING)
        self.env |= await self.credentials.warmed(
            runner.name,
            WARM_TIMEOUT,
            self.config.passed_on,
            required=self.settings.relay_required,
        )

    async def listened(self) -> None:
        """Start the listener, with all that tells of its job."""
        passed_on, agent = self.config.passed_on, self.config.task.agent_uri
        hear, told = self.listener.hear_hook, self.docker.told
        self._undone.enter_context(self.root.environment_without(self.docker.withheld))
        self.env |= await self._enter(hooks.hooked(self.root, passed_on, hear, told))
        so_mark = self.access.so_mark
        await self._enter(protecting(agent, self.listener.job, self.cleanup_stack, so_mark=so_mark))
        await self._enter(listening(self.root, self.env, self.listener))
        self.report.listener = self.listener

    async def lived(self) -> Exit:
        """Go on until the listener's end, a stop or a limit; the value is the exit code."""
        deregistration, listener = self.deregistration, self.listener
        drain = Drain(
            listener, deregistration, self.cleanup_step, self.cleanup_stack, self.stop, self.now
        )
        watching = watches(self.config, deregistration, so_mark=self.access.so_mark)
        code = await supervise(drain, watching.begun(listener, self.born))
        deregistration.listener_ended(listener, configured=self.root.configured)
        self.report.error = self.diagnosis.of_listener(listener, code)
        self.now.enter(phase.STOPPING)
        return code


def watches(config: Configuration, deregistration: Deregistration, *, so_mark: bool) -> Watches:
    """Choose what else may end the life."""
    settings = config.settings
    return Watches(
        idle=settings.idle_limit,
        lifetime=settings.lifetime_limit,
        spot=settings.spot_watch,
        runner=deregistration.known if deregistration.can_look else None,
        imds=config.task.instance_uri,
        so_mark=so_mark,
    )
