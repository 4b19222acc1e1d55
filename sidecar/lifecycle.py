"""One life, told once: what is acquired, in which order, and so what is given back.

Entering acquires and leaving undoes, in the reverse order. A stop may cut the acquiring, never
the undoing; once the listener runs, a stop is a step of the life itself: the drain.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import ecs, health, naming, phase, process, relay, sources, tokens, undo
from sidecar.attend import attended
from sidecar.drain import Drain
from sidecar.errors import Exit, RelayError, Stopped
from sidecar.protection import protecting
from sidecar.runner import age, hooks
from sidecar.runner.departure import Departure
from sidecar.runner.diagnosis import Diagnosis
from sidecar.runner.environment import RELAY_URI, environment
from sidecar.runner.listener import Listener, listening
from sidecar.runner.root import Root
from sidecar.watches import Watches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.report import Report
    from sidecar.settings import Configuration
    from sidecar.stop import Stop

log = structlog.get_logger()

WARM_TIMEOUT = 5.0
"""Seconds that a runner waits for the relay's first credentials before it takes jobs without."""


async def live(config: Configuration, stop: Stop, report: Report) -> Exit:
    """Live one life; the value is the process's exit code. Raises SidecarError."""
    async with health.listening(config.settings.health_address, report):
        try:
            exit_code = await _live(config, stop, report)
        finally:
            report.phase.enter(phase.STOPPING)
    left_behind = exit_code is Exit.DONE and report.owed.left_behind
    return Exit.LEFT_BEHIND if left_behind else exit_code


async def _live(config: Configuration, stop: Stop, report: Report) -> Exit:
    settings, now, born = config.settings, report.phase, asyncio.get_running_loop().time()
    owed = report.owed
    root = Root(settings.runner_dir, config.user)
    listener, diagnosis = Listener(now), Diagnosis(root)
    runner: sources.Runner | None = None

    async with AsyncExitStack() as life:
        enter = life.enter_async_context
        await enter(process.reaping())
        store = await enter(tokens.Store(config.task.region))
        api = sources.connection(config)
        if api is not None:
            await enter(api)
        life.callback(diagnosis.after_farewell, owed)
        await enter(undo.farewell(owed, stop))
        source = sources.source(settings, store, api, owed)
        try:
            async with stop.cuts():
                report.relay = await enter(relaying(config))
                now.enter(phase.WAITING)
                task = await ecs.task_facts(config.task.metadata_uri)
                right = await source.arrived(settings.token_timeout)

                now.enter(phase.CONFIGURING)
                root.prepare()
                age.warn(root)
                env = environment(config.passed_on, config.user)
                wish = naming.wish(settings, right, task)
                departure = Departure(api, source.usable)
                debt = owed.owe("runner", departure.leave)
                patience = settings.token_timeout
                runner = sources.runner(root, wish, env, right, api, patience)
                departure.runner = runner
                with diagnosis.failing("configure"):
                    await runner.register(stop.finished)
                source.served()  # deleting the token is off the job's way
                root.describe(task)

                now.enter(phase.WARMING)
                env |= await warmed(report.relay, required=settings.relay_required)
                env |= await enter(hooks.hooked(root, config.passed_on, listener.hear_hook))
                await enter(protecting(config.task.agent_uri, listener.job, owed))
                await enter(listening(root, env, listener))
                report.listener = listener
        except Stopped:
            if runner is None or not runner.complete:
                raise
            return Exit.DONE

        drain = Drain(listener, departure, debt, owed, stop, now)
        code = await attended(drain, watches(config, departure).begun(listener, born))
        departure.listener_ended(listener, configured=root.configured)
        report.error = diagnosis.of_listener(listener, code)
        now.enter(phase.STOPPING)
        return code


def watches(config: Configuration, departure: Departure) -> Watches:
    """Choose what else may end the life."""
    settings = config.settings
    return Watches(
        idle=settings.idle_limit,
        lifetime=settings.lifetime_limit,
        spot=settings.spot_watch,
        runner=departure.known if departure.can_look else None,
        imds=config.task.instance_uri,
    )


@asynccontextmanager
async def relaying(config: Configuration) -> AsyncIterator[relay.Relay | None]:
    """Relay the task role's credentials within the block; yields None where that cannot be.

    Raises RelayError only if SIDECAR_RELAY_REQUIRED says so: else a job runs without it.
    """
    settings, task = config.settings, config.task
    async with AsyncExitStack() as serving:
        served: relay.Relay | None = None
        try:
            endpoint = None
            if settings.relay != "off":
                endpoint = relay.Endpoint.given(
                    relative_uri=task.credentials_relative_uri,
                    full_uri=task.credentials_full_uri,
                    authorization=task.credentials_token,
                    token_file=task.credentials_token_file,
                )
            if endpoint is not None:
                address = settings.relay_address
                served = await serving.enter_async_context(
                    relay.serving(endpoint, address.host, address.port)
                )
            elif settings.relay_required:
                raise RelayError(  # noqa: TRY301  the ladder below decides for every cause alike
                    "cannot relay credentials: the task has no role (taskRoleArn)"
                )
            else:
                log.info(
                    "relay.off",
                    reason="SIDECAR_RELAY=off" if settings.relay == "off" else "no task role",
                )
        except RelayError as error:
            if settings.relay_required:
                raise
            log.warning("relay.unavailable", reason=str(error))
        yield served


async def warmed(served: relay.Relay | None, *, required: bool) -> dict[str, str]:
    """Wait until the relay holds credentials; return what tells a job where they are."""
    if served is None:
        return {}
    try:
        await served.warm(WARM_TIMEOUT)
    except RelayError as error:
        if required:
            raise
        log.warning("relay.cold", reason=str(error))
    return {RELAY_URI: served.uri}
