"""The life of one runner, from the first connection to the exit code: read this first.

Each step acquires something and registers what cleans it up; leaving the stack cleans up in the
reverse order. A stop may cut the steps short, never the cleanup. Once the listener runs nothing
is cut any more: a stop is then handled by the drain.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sidecar import phase, process, tokens
from sidecar.aws.instance_facts import InstanceFacts
from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import Exit, Stopped
from sidecar.lifecycle import registration
from sidecar.lifecycle.drain import Drain
from sidecar.lifecycle.facts import read_facts
from sidecar.lifecycle.job_admission import make_admission
from sidecar.lifecycle.job_credentials import Access, job_credentials, read_outward_routes
from sidecar.lifecycle.job_docker import job_docker
from sidecar.lifecycle.job_registries import add_registries
from sidecar.lifecycle.job_roles import JobRoles, read_rules
from sidecar.lifecycle.job_usage import Summary, follow_usage
from sidecar.lifecycle.network import network_variables
from sidecar.lifecycle.protection import protect_while_busy
from sidecar.lifecycle.registration_request import make_request
from sidecar.lifecycle.side_by_side import do_beside
from sidecar.lifecycle.supervision import supervise
from sidecar.lifecycle.watches import Watches
from sidecar.net.library_variables import select
from sidecar.net.marked_sockets import hold_routes
from sidecar.runner import age, hooks, killed_agent
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.diagnostics import Diagnostics
from sidecar.runner.environment import build_environment
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.listener import Listener, run_listener
from sidecar.runner.preparation import prepare_folder
from sidecar.runner.usable_folders import check_folders
from sidecar.runner.user_processes import own_user
from sidecar.runner.workspace import NAME, make_workspace
from sidecar.settings.contracts.contract import INSTANCE_ID
from sidecar.shutdown.cleanup import When, run_cleanup
from sidecar.status.health_server import serve_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar import github
    from sidecar.aws.instance_facts import Facts
    from sidecar.lifecycle.job_credentials import JobCredentials
    from sidecar.lifecycle.job_docker import JobDocker
    from sidecar.lifecycle.job_usage import UsageWatch
    from sidecar.runner.admission import Admission
    from sidecar.runner.registration_request import RegistrationRequest
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.cleanup import CleanupStep
    from sidecar.shutdown.stop import Stop
    from sidecar.status.report import Report

WARM_TIMEOUT = 5.0
"""Seconds to wait for the relay's first credentials; then the runner takes jobs without them."""


async def live(config: Configuration, stop: Stop, report: Report) -> Exit:
    """Live one life; return the process's exit code. Raises SidecarError."""
    settings = config.settings
    async with serve_health(settings.health_address, report, settings.runner_dir):
        try:
            exit_code = await _live(config, stop, report)
        finally:
            report.phase.enter(phase.STOPPING)
    not_clean = exit_code is Exit.DONE and report.cleanup_stack.not_done
    return Exit.LEFT_BEHIND if not_clean else exit_code


async def _live(config: Configuration, stop: Stop, report: Report) -> Exit:
    async with AsyncExitStack() as exit_stack:
        life = _Life(config, stop, report, exit_stack)
        await life.open_clients()
        try:
            async with stop.cuts():
                await life.serve_and_wait_for_token()
                await life.register_runner()
                await life.fetch_credentials()
                await life.start_listener()
        except Stopped:
            if life.runner is None or not life.runner.complete:
                raise
            return Exit.DONE
        return await life.supervise_listener()


class _Life:
    """The things that one life has acquired so far. Each method needs those before it."""

    access: Access
    api: github.Connection | None
    source: registration.Source
    credentials: JobCredentials
    docker: JobDocker
    token: tokens.RegistrationToken
    admission: Admission | None
    """Who decides whether the job may run; None: every job may."""
    deregistration: Deregistration
    deregister_step: CleanupStep

    def __init__(
        self, config: Configuration, stop: Stop, report: Report, exit_stack: AsyncExitStack
    ) -> None:
        self.config = config
        self.settings = config.settings
        self.stop = stop
        self.report = report
        self.phase = report.phase
        self.cleanup_stack = report.cleanup_stack
        self.born = asyncio.get_running_loop().time()
        self.folder = RunnerFolder(self.settings.runner_dir, config.user)
        self.listener = Listener(self.phase)
        self.diagnostics = Diagnostics(self.folder)
        self.runner: registration.Runner | None = None
        self.facts: Facts | None = None
        self.env: dict[str, str] = {}
        """The environment of the runner."""
        self.roles: JobRoles | None = None
        """The rules that give the job its role; None: jobs have the role that the settings say."""
        self._exit_stack = exit_stack
        self._enter = exit_stack.enter_async_context

    async def open_clients(self) -> None:
        """Open the clients of SSM and GitHub, then the cleanup, which needs them to the end."""
        settings, region = self.settings, self.config.task.region
        self.routes = self._exit_stack.enter_context(hold_routes())
        network = network_variables(self.config, self.folder)
        self.config = self._exit_stack.enter_context(network)
        await self._enter(process.collect_orphans())
        await own_user(self.config.user, self.folder.state_file)
        self.access = Access(self.config)
        store = await self._enter(registration.make_store(settings, region, self.access.session))
        self.api = registration.make_connection(settings, self.access.secret_reader(region))
        if self.api is not None:
            await self._enter(self.api)
        self._exit_stack.callback(self.diagnostics.log_after_cleanup, self.cleanup_stack)
        await self._enter(run_cleanup(self.cleanup_stack, self.stop))
        self.killed_agents = killed_agent.find_killed_agents(
            self.folder, self.cleanup_stack, self.api
        )
        self.source = await registration.choose_source(
            settings,
            store,
            self.api,
            self.cleanup_stack,
            self._read_own_id,
            self.config.machine.get(INSTANCE_ID, ""),
        )

    async def _read_own_id(self) -> str:
        self.facts = await read_facts(self.config, so_mark=self.access.so_mark)
        return self.facts.id

    async def _read_facts(self) -> Facts:
        if self.facts is None:
            self.facts = await read_facts(self.config, so_mark=self.access.so_mark)
        return self.facts

    async def serve_and_wait_for_token(self) -> None:
        """Serve what jobs use, and wait for the registration token or JIT configuration beside it.

        The task's metadata may hang for a while: the token is asked for meanwhile.
        """
        self.phase.enter(phase.WAITING)
        await do_beside(self._serve_credentials_and_docker, self._wait_for_token)
        self.admission = make_admission(
            self.token, self.folder, self.listener, self.credentials, self.roles
        )

    async def _wait_for_token(self) -> None:
        self.token = await self.source.wait(self.settings.token_timeout)
        if self.token.jit is not None:
            # GitHub knows its runner already, whatever becomes of this life.
            self._make_runner(make_request(self.settings, self.token, self.facts or TaskFacts()))

    async def _serve_credentials_and_docker(self) -> None:
        """Serve the relay with the jobs' credentials, and the docker proxy."""
        config, cleanup_stack = self.config, self.cleanup_stack
        facts = await self._read_facts()
        read_outward_routes(self.routes, self.access, facts)
        region = config.task.region
        rules = await read_rules(self.settings, self.access.secret_reader(region))
        self.credentials = await self._enter(
            job_credentials(config, self.access, facts, cleanup_stack)
        )
        if rules is not None:
            self.roles = JobRoles(rules, self.access, self.credentials, region, facts.id)
            await self.roles.open_clients(self._exit_stack)
            await self.roles.start_containers(self._exit_stack)
        self.report.relay = self.credentials.relay
        self.docker = await self._enter(
            job_docker(config, self.credentials, cleanup_stack, self.stop, self.routes.on_network)
        )

    async def register_runner(self) -> None:
        """Prepare the runner's folder and register the runner; the token is then deleted."""
        self.phase.enter(phase.CONFIGURING)
        passed_on = self.docker.set_variables(
            self.credentials.remove_agent_variables(self.config.passed_on)
        )
        self.env = build_environment(passed_on, self.config.user)
        facts = await self._read_facts()
        request = make_request(self.settings, self.token, facts, self.docker.work_dir)
        await prepare_folder(self.folder, self.config.passed_on)
        age.warn_if_outdated(self.folder)
        await self._make_work_folder(request.work_dir)
        self.docker.allow_binds(self.folder.path / request.work_dir)
        await check_folders(self.folder, request.work_dir)
        if self.killed_agents is not None:
            await self.killed_agents.deregister_first(
                request, self.env, self.token, self.source.is_usable
            )
        runner = self.runner or self._make_runner(request)
        with self.diagnostics.log_on_failure("configure"):
            await runner.register(self.stop.let_finish)
        self.docker.set_runner_label(self.folder.docker_label)
        self.source.delete_soon()  # the token is deleted beside what follows: no job waits for that
        self.folder.write_setup_info(facts)

    async def _make_work_folder(self, work_dir: str) -> None:
        remove_after = self.token.work_dir is None and NAME in self.settings.work_dir
        path, user = self.folder.path, self.config.user
        await self._enter(
            make_workspace(
                path,
                work_dir,
                user,
                self.cleanup_stack,
                remove_after=remove_after,
                first_life=self.folder.first_life,
            )
        )

    def _make_runner(self, request: RegistrationRequest) -> registration.Runner:
        """Make the runner and register its deregistration; nothing is registered at GitHub yet."""
        folder, usable = self.folder, self.source.is_usable
        self.deregistration = Deregistration(
            self.api,
            usable,
            folder.forget_runner,
            service=registration.make_runner_service(folder, request, usable),
        )
        self.deregister_step = self.cleanup_stack.register_step(
            "runner", self.deregistration.deregister
        )
        runner = registration.make_runner(
            folder, request, self.env, self.token, self.api, self.settings.token_timeout
        )
        self.runner = self.deregistration.runner = runner
        return runner

    async def fetch_credentials(self) -> None:
        """Wait for the relay's first credentials, and tell the runner where they are."""
        assert self.runner is not None  # noqa: S101  register_runner has made it
        self.phase.enter(phase.WARMING)
        self.env |= await self.credentials.wait_for_credentials(
            self.runner.name,
            WARM_TIMEOUT,
            self.config.passed_on,
            required=self.settings.relay_required,
        )

    async def start_listener(self) -> None:
        """Start the listener, with the job hooks and the task protection that a job needs."""
        self.phase.enter(phase.LAUNCHING)
        passed_on, listener = self.config.passed_on, self.listener
        env = {**self.env, **self.folder.read_environment_file()}
        registries = await add_registries(
            self.config, await self._read_facts(), env, self.cleanup_stack
        )
        # The network's variables of `.env` are in the listener's environment, with more hosts.
        # Left when the listener's last process is dead and its files are restored.
        self._exit_stack.callback(self._begin_cleanup)
        self._exit_stack.callback(self.folder.restore_environment)
        self._exit_stack.enter_context(
            self.folder.without_variables(
                (*self.docker.withheld_variables, *select(passed_on), *registries)
            )
        )
        watch = await self._enter(
            follow_usage(self.config.task.metadata_uri, listener.job, so_mark=self.access.so_mark)
        )
        self.report.usage = watch.usage if watch is not None else None
        self.env |= await self._enter(
            hooks.install_hooks(
                self.folder,
                passed_on,
                self._choose_hook_handler(watch),
                self.docker.hook_variables,
                self.admission,
                self._choose_summary(watch),
            )
        )
        await self._enter(
            protect_while_busy(
                self.config.task.agent_uri,
                listener.job,
                self.cleanup_stack,
                so_mark=self.access.so_mark,
            )
        )
        # Not in `self.env`: calls with a secret look for programs only where no job can put one.
        await self._enter(run_listener(self.folder, {**self.env, **registries}, listener))
        self.report.listener = listener

    def _choose_hook_handler(self, watch: UsageWatch | None) -> Callable[[str], None]:
        if watch is None:
            return self.listener.on_hook_event

        def on_event(event: str) -> None:
            self.listener.on_hook_event(event)
            watch.on_hook_event(event)

        return on_event

    def _choose_summary(self, watch: UsageWatch | None) -> Summary | None:
        if watch is None or self.settings.job_summary == "off":
            return None
        return Summary(watch, self.folder.state / "job-summary.md", self.report.count_credentials)

    def _begin_cleanup(self) -> None:
        """Begin to deregister the runner, and the like, beside the removal of its containers."""
        self.stop.start_clock()
        self.cleanup_stack.begin_steps(When.JOB_ENDED)

    async def supervise_listener(self) -> Exit:
        """Wait for the listener's end, a stop or a limit; return the exit code."""
        deregistration, listener = self.deregistration, self.listener
        drain = Drain(
            listener,
            deregistration,
            self.deregister_step,
            self.cleanup_stack,
            self.stop,
            self.phase,
        )
        code = await supervise(drain, self._choose_watches().start(listener, self.born))
        deregistration.set_listener_ended(listener, configured=self.folder.is_configured)
        self.report.error = self.diagnostics.explain_failure(listener, code)
        self.phase.enter(phase.STOPPING)
        return code

    def _choose_watches(self) -> Watches:
        settings, deregistration = self.settings, self.deregistration
        is_spot = isinstance(self.facts, InstanceFacts) and self.facts.is_spot
        return Watches(
            idle=settings.idle_limit,
            lifetime=settings.lifetime_limit,
            session=settings.session_limit,
            spot=settings.spot_watch or (is_spot and "spot_watch" not in settings.model_fields_set),
            is_registered=deregistration.is_known if deregistration.can_ask_github else None,
            instance_uri=self.config.task.instance_uri,
            on_end=self.stop.note_end,
            so_mark=self.access.so_mark,
        )
