"""By which way jobs, and the containers that they start, reach the relay."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from sidecar import relay
from sidecar.docker import internal_networks
from sidecar.docker.engine import Engine
from sidecar.errors import RelayError
from sidecar.relay import mode, network_rules
from sidecar.relay.network_rules import Redirect, RulesUnavailable
from sidecar.relay.routes import Peers

if TYPE_CHECKING:
    from sidecar.aws.container_credentials import Source
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CredentialsRoute:
    """What is known of the way."""

    endpoint: relay.Endpoint | None
    """Where the agent's own credentials come from."""
    separate_job_role: bool
    """Whether jobs have a role of their own."""
    network_modes: frozenset[str]
    cleanup_stack: CleanupStack

    async def served(
        self, source: Source, config: Configuration, serving: AsyncExitStack
    ) -> tuple[relay.Relay, bool, mode.Mode]:
        """Serve `source` in the mode that fits, for as long as `serving` is open.

        Returns the relay, whether whoever asks the ECS agent reaches it, and the mode. Raises
        RelayError.
        """
        settings = config.settings
        engine = Engine.named(config.task.docker_host)
        docker, told = await mode.located(engine)
        facts = mode.Facts(
            docker,
            told,
            obstacle=network_rules.obstacle(self.network_modes),
            relative_uri=config.task.credentials_relative_uri is not None,
            separate_job_role=self.separate_job_role,
        )
        choice = mode.chosen(settings.relay, facts)
        served: relay.Relay | None = None
        if choice.mode is mode.Mode.NETFILTER:
            try:
                served = await self._to_all(source, config, serving)
            except RulesUnavailable as why:
                # What was forced cannot be, and is told; else the next best is chosen.
                choice = mode.chosen(settings.relay, replace(facts, obstacle=str(why)))
        log.info(
            "relay.mode_chosen", mode=choice.mode.value, wanted=settings.relay, reason=choice.reason
        )
        if served is not None:
            if engine is not None and engine.socket is not None:
                await serving.enter_async_context(
                    relay.running_beside(internal_networks.reported(engine))
                )
            return served, True, choice.mode
        await network_rules.cleared(self.network_modes)
        address = settings.relay_address
        served = await serving.enter_async_context(
            relay.serving(source, address.host, address.port)
        )
        redirected = self.separate_job_role and await self._redirected(served, serving)
        return served, redirected, choice.mode

    async def _to_all(
        self, source: Source, config: Configuration, serving: AsyncExitStack
    ) -> relay.Relay:
        """Serve where rules lead whoever asks. Raises Unredirected, and then nothing is up."""
        address, port = network_rules.RELAY_ADDRESS, config.settings.relay_address.port
        uri = config.task.credentials_relative_uri
        imds = relay.Imds(config.task.region) if config.settings.relay_imds else None
        redirect = Redirect(self.network_modes, containers=True)
        down = self.cleanup_stack.register_step("network", redirect.take_down)
        try:
            redirect.prepare()
            async with AsyncExitStack() as trying:
                peers = Peers(redirect.interfaces or ())
                served = await trying.enter_async_context(
                    relay.serving(source, address, port, peers=peers, imds=imds)
                )
                if uri is not None and not self.separate_job_role:
                    # Other containers of the task are led here too, and know no other path.
                    served.identities.share(uri)
                await redirect.put_up(served)
                serving.push_async_exit(trying.pop_all())
        except (RulesUnavailable, RelayError) as why:
            await down.begin()
            raise RulesUnavailable(str(why)) from why
        serving.callback(down.begin)  # before the relay closes; the farewell sees to its end
        return served

    async def _redirected(self, served: relay.Relay, serving: AsyncExitStack) -> bool:
        """Send to the relay what in this namespace asks the ECS agent, but for the agent itself."""
        if self.endpoint is None or self.endpoint.variable != relay.RELATIVE_URI:
            log.info("network.rules_skipped", reason=f"the task has no {relay.RELATIVE_URI}")
            return False
        redirect = Redirect(self.network_modes)
        down = self.cleanup_stack.register_step("network", redirect.take_down)
        try:
            redirect.prepare()
            await redirect.put_up(served)
        except RulesUnavailable as why:
            await down.begin()
            log.info("network.rules_skipped", reason=str(why))
            return False
        serving.callback(down.begin)  # before the relay closes; the farewell sees to its end
        return True
