"""Run the relay, and route to it the requests of a job and of its containers."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from sidecar import relay
from sidecar.aws.instance_metadata import DOCUMENT, FACTS
from sidecar.aws.instance_role import InstanceRole
from sidecar.docker import internal_networks
from sidecar.docker.engine import Engine
from sidecar.errors import RelayError
from sidecar.relay import mode, network_rules
from sidecar.relay.network_rules import Redirect, RulesUnavailable
from sidecar.relay.routes import Peers
from sidecar.shutdown.cleanup import When

if TYPE_CHECKING:
    from sidecar.aws.container_credentials import CredentialsSource
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CredentialsRoute:
    """Chooses the relay mode, and runs the relay in it."""

    endpoint: relay.Endpoint | InstanceRole | None
    """The source of the agent's own credentials."""
    separate_job_role: bool
    """Whether jobs have a role of their own."""
    network_modes: frozenset[str]
    cleanup_stack: CleanupStack

    async def serve(
        self, source: CredentialsSource, config: Configuration, serving: AsyncExitStack
    ) -> tuple[relay.Relay, bool, mode.Mode]:
        """Serve the credentials of `source` until `serving` is closed.

        Returns the relay, whether requests to the ECS agent's address reach it, and the relay
        mode. Raises RelayError.
        """
        settings = config.settings
        engine = Engine.find(config.task.docker_host)
        facts = self.list_facts(config, *await mode.locate_daemon(engine))
        choice = mode.choose(settings.relay, facts)
        running: relay.Relay | None = None
        if choice.mode is mode.Mode.NETFILTER:
            try:
                running = await self._serve_all(source, config, serving)
            except RulesUnavailable as error:
                # Raises RelayError if the setting forces this mode.
                choice = mode.choose(settings.relay, replace(facts, obstacle=str(error)))
        log.info(
            "relay.mode_chosen", mode=choice.mode.value, wanted=settings.relay, reason=choice.reason
        )
        if running is not None:
            if engine is not None and engine.socket is not None:
                await serving.enter_async_context(
                    relay.running_beside(internal_networks.warn_about_internal_networks(engine))
                )
            return running, True, choice.mode
        await network_rules.remove_leftovers(self.network_modes)
        address = settings.relay_address
        # On a machine, rules lead its own programs here too: they ask as jobs do, without a path.
        imds = make_imds(config) if config.machine and settings.relay_imds else None
        running = await serving.enter_async_context(
            relay.serving(source, address.host, address.port, imds=imds)
        )
        redirected = self.separate_job_role and await self._redirect(running, serving)
        return running, redirected, choice.mode

    def list_facts(
        self, config: Configuration, location: mode.DaemonLocation, evidence: str
    ) -> mode.Facts:
        """List the facts on which the relay mode depends; the first two say where the daemon is."""
        return mode.Facts(
            location,
            evidence,
            obstacle=network_rules.obstacle(self.network_modes),
            relative_uri=config.task.credentials_relative_uri is not None,
            machine=isinstance(self.endpoint, InstanceRole),
            separate_job_role=self.separate_job_role,
        )

    async def _serve_all(
        self, source: CredentialsSource, config: Configuration, serving: AsyncExitStack
    ) -> relay.Relay:
        """Serve the whole network namespace, containers included, by network rules.

        Raises RulesUnavailable; then neither relay nor rules are left.
        """
        address, port = network_rules.RELAY_ADDRESS, config.settings.relay_address.port
        uri = config.task.credentials_relative_uri
        imds = make_imds(config) if config.settings.relay_imds else None
        redirect = Redirect(self.network_modes, containers=True)
        removal = self.cleanup_stack.register_step("network", redirect.remove_rules, when=When.LAST)
        try:
            redirect.prepare()
            async with AsyncExitStack() as starting:
                peers = Peers(redirect.interfaces or ())
                running = await starting.enter_async_context(
                    relay.serving(source, address, port, peers=peers, imds=imds)
                )
                if uri is not None and not self.separate_job_role:
                    # The task's other containers are routed here too, and have only this path.
                    running.identities.share(uri)
                await redirect.add_rules(running)
                serving.push_async_exit(starting.pop_all())
        except (RulesUnavailable, RelayError) as error:
            await removal.begin()
            raise RulesUnavailable(str(error)) from error
        serving.callback(removal.begin)  # before the relay closes; the stack waits for its end
        return running

    @property
    def _is_redirectable(self) -> bool:
        """Whether the agent's own credentials are at an address that rules redirect."""
        if isinstance(self.endpoint, InstanceRole):
            return True
        return self.endpoint is not None and self.endpoint.variable == relay.RELATIVE_URI

    async def _redirect(self, running: relay.Relay, serving: AsyncExitStack) -> bool:
        """Redirect requests for the ECS agent to the relay, except those of this agent.

        Returns whether that is possible.
        """
        if not self._is_redirectable:
            log.info("network.rules_skipped", reason=f"the task has no {relay.RELATIVE_URI}")
            return False
        redirect = Redirect(self.network_modes)
        removal = self.cleanup_stack.register_step("network", redirect.remove_rules, when=When.LAST)
        try:
            redirect.prepare()
            await redirect.add_rules(running)
        except RulesUnavailable as error:
            await removal.begin()
            log.info("network.rules_skipped", reason=str(error))
            return False
        serving.callback(removal.begin)  # before the relay closes; the stack waits for its end
        return True


def make_imds(config: Configuration) -> relay.Imds:
    """Choose what the relay's IMDS protocol says beside credentials: on a machine, who it is.

    Other programs of the machine are led to the relay, too, and need that.
    """
    names = [*FACTS, DOCUMENT] if config.machine else []
    return relay.Imds(
        config.task.region, {name: config.machine[name] for name in names if name in config.machine}
    )
