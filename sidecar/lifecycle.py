"""One life, told once: what is acquired, in which order, and so what is given back.

Entering acquires and leaving undoes, in the reverse order. A stop may cut the acquiring, never
the undoing; once the listener runs, a stop is a step of the life itself: the drain.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sidecar import ecs, health, naming, phase, process, sources, tokens, undo
from sidecar.attend import attended
from sidecar.drain import Drain
from sidecar.errors import Exit, Stopped
from sidecar.protection import protecting
from sidecar.proxying import proxying
from sidecar.relaying import Access, relaying
from sidecar.runner import age, hooks, predecessor
from sidecar.runner.departure import Departure
from sidecar.runner.diagnosis import Diagnosis
from sidecar.runner.environment import environment
from sidecar.runner.listener import Listener, listening
from sidecar.runner.root import Root
from sidecar.runner.workspace import NAME, workspace
from sidecar.watches import Watches

if TYPE_CHECKING:
    from sidecar.report import Report
    from sidecar.settings import Configuration
    from sidecar.stop import Stop

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
        access = Access(config)
        store = await enter(tokens.Store(config.task.region, access.session))
        api = sources.connection(config, access.asker(config.task.region))
        if api is not None:
            await enter(api)
        life.callback(diagnosis.after_farewell, owed)
        await enter(undo.farewell(owed, stop))
        before = predecessor.found(root, owed, api, settings.github_url)
        source = sources.source(settings, store, api, owed)
        try:
            async with stop.cuts():
                task = await ecs.task_facts(config.task.metadata_uri, marked=access.marked)
                relayed = await enter(relaying(config, access, task, owed))
                report.relay = relayed.served
                docker = await enter(proxying(config, relayed, owed))
                now.enter(phase.WAITING)
                right = await source.arrived(settings.token_timeout)

                now.enter(phase.CONFIGURING)
                root.prepare()
                age.warn(root)
                passed_on = docker.led(relayed.without_agents(config.passed_on))
                env = environment(passed_on, config.user)
                wish = naming.wish(settings, right, task, docker.work_dir)
                alone = right.work_dir is None and NAME in settings.work_dir
                await enter(workspace(root.path, wish.work_dir, config.user, owed, alone=alone))
                if before is not None:
                    await before.departed(wish, env, right, source.usable)
                departure = Departure(api, source.usable, root.memory.erase_own)
                debt = owed.owe("runner", departure.leave)
                patience = settings.token_timeout
                runner = sources.runner(root, wish, env, right, api, patience)
                departure.runner = runner
                with diagnosis.failing("configure"):
                    await runner.register(stop.finished)
                source.served()  # deleting the token is off the job's way
                root.describe(task)

                now.enter(phase.WARMING)
                env |= await relayed.warmed(
                    runner.name, WARM_TIMEOUT, config.passed_on, required=settings.relay_required
                )
                env |= await enter(
                    hooks.hooked(root, config.passed_on, listener.hear_hook, docker.told)
                )
                agent = config.task.agent_uri
                await enter(protecting(agent, listener.job, owed, marked=access.marked))
                await enter(listening(root, env, listener))
                report.listener = listener
        except Stopped:
            if runner is None or not runner.complete:
                raise
            return Exit.DONE

        drain = Drain(listener, departure, debt, owed, stop, now)
        watching = watches(config, departure, marked=access.marked)
        code = await attended(drain, watching.begun(listener, born))
        departure.listener_ended(listener, configured=root.configured)
        report.error = diagnosis.of_listener(listener, code)
        now.enter(phase.STOPPING)
        return code


def watches(config: Configuration, departure: Departure, *, marked: bool) -> Watches:
    """Choose what else may end the life."""
    settings = config.settings
    return Watches(
        idle=settings.idle_limit,
        lifetime=settings.lifetime_limit,
        spot=settings.spot_watch,
        runner=departure.known if departure.can_look else None,
        imds=config.task.instance_uri,
        marked=marked,
    )
