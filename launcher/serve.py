"""Run the webhook, the worker, or both, as a service that stops in good order.

A stop ends the taking of new work at once. What has begun may end within the stop time-out; what is
cut then comes again, because the queue still has it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from launcher.demand.message import Message
from launcher.demand.queue import LONGEST_WAIT, MOST, Queue, process
from launcher.demand.references import split_references, split_secrets
from launcher.demand.server import make_application
from launcher.demand.webhook import Webhook
from launcher.errors import Exit, LaunchError, describe
from launcher.exits import explain
from launcher.interruption import InterruptedWork
from launcher.secret import Secret
from launcher.settings import (
    ApiSettings,
    LogSettings,
    ServiceSettings,
    WebhookSettings,
    WorkSettings,
)
from sidecar import host
from sidecar.aws.references import parse_reference
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from launcher.api.orders import Orders
    from launcher.demand.delivery import Demand
    from launcher.demand.queue import Received, Worker
    from launcher.interruption import Interruption

log = structlog.get_logger()

HEALTH_PATH = "/healthz"
SECRETS = "LAUNCHER_WEBHOOK_SECRETS"
SECRETS_EVERY = 60.0
"""Seconds between two looks at the webhook's secrets; `Secret` keeps each for longer."""
TICK_EVERY = 60.0
"""Seconds between two ticks."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the queue is asked again after an error."""


class Health:
    """The answer of the health path: 503 while a part of the service does not work."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}

    def add_to(self, application: web.Application) -> None:
        """Answer at the health path."""
        application.router.add_get(HEALTH_PATH, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        del request
        status = 503 if self.problems else 200
        return web.json_response({"problems": self.problems}, status=status)


def run(settings: LogSettings, region: str | None, interruption: Interruption) -> Exit:
    """Serve until a signal comes; return the exit code. What cannot even begin is logged."""
    try:
        with asyncio.Runner(loop_factory=host.loop_factory()) as runner:
            return runner.run(serve(settings, region, interruption))
    except (LaunchError, SidecarError) as error:
        code, reason = explain(error)
    log.error("service.failed", reason=reason)
    return code


async def serve(settings: LogSettings, region: str | None, interruption: Interruption) -> Exit:
    """Serve until a signal comes; what is served depends on whose settings these are."""
    assert isinstance(settings, ServiceSettings)  # noqa: S101
    health = Health()
    async with AsyncExitStack() as stack:
        application = web.Application()
        tasks: list[Callable[[], Awaitable[None]]] = []
        poller: Poller | None = None
        if isinstance(settings, WebhookSettings):
            application, refresh = await _make_webhook(settings, region, stack)
            tasks.append(refresh)
        if isinstance(settings, WorkSettings):
            from launcher.assembly import open_worker  # late: the webhook alone needs no worker

            parts = await stack.enter_async_context(open_worker(settings, region))
            poller = Poller(parts.queue, parts.worker, settings.messages, health)
            stack.push_async_callback(poller.finish, settings.stop_timeout)
            tasks += [poller.poll, parts.pools.reload, partial(_tick, parts.worker)]
        if isinstance(settings, ApiSettings):
            from launcher.api.server import make_application as make_api
            from launcher.api_assembly import open_api  # late: nobody else needs it

            served = await stack.enter_async_context(open_api(settings, region))
            application = make_api(served.api)
            tasks += [served.pools.reload, partial(_tend, served.orders)]
        health.add_to(application)
        address = await _listen(application, settings, stack)
        gc.freeze()  # what was imported stays: collecting it again and again takes time
        log.info("service.started", address=address, parts=_name_parts(settings))
        try:
            async with interruption.cuts(), asyncio.TaskGroup() as group:
                for task in tasks:
                    group.create_task(_run(task))
        except InterruptedWork as stop:
            log.info("service.stop_requested", reason=str(stop))
    log.info("service.stopped")
    return Exit.DONE


async def _tick(worker: Worker) -> None:
    """Give the worker a tick every minute; a Lambda function gets it from a schedule."""
    while True:
        now = time.time()
        try:
            await worker.handle(Message('{"kind":"tick"}', now, sent=now))
        except SidecarError as error:
            log.warning("tick.failed", reason=describe(error))
        await asyncio.sleep(TICK_EVERY)


async def _tend(orders: Orders) -> None:
    """Look after orders, every minute; a Lambda function does it by a schedule."""
    while True:
        await asyncio.sleep(TICK_EVERY)
        try:
            await orders.tend()
        except SidecarError as error:
            log.warning("tick.failed", reason=describe(error))


async def _run(task: Callable[[], Awaitable[None]]) -> None:
    await task()


def _name_parts(settings: LogSettings) -> list[str]:
    kinds = {"webhook": WebhookSettings, "work": WorkSettings, "api": ApiSettings}
    return [name for name, kind in kinds.items() if isinstance(settings, kind)]


async def _listen(
    application: web.Application, settings: ServiceSettings, stack: AsyncExitStack
) -> str:
    """Listen; on leaving, take nothing new and answer what has begun."""
    host, _, port = settings.listen.rpartition(":")
    runner = web.AppRunner(application, shutdown_timeout=settings.stop_timeout, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host.strip("[]") or None, int(port)).start()
    except OSError as error:
        reason = f"cannot listen on {settings.listen} (LAUNCHER_LISTEN): {error.strerror}"
        raise LaunchError(Exit.SETTINGS, reason) from error
    name, number = runner.addresses[0][:2]
    return f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"


# ---- webhook -----------------------------------------------------------------------------------


async def _make_webhook(
    settings: WebhookSettings, region: str | None, stack: AsyncExitStack
) -> tuple[web.Application, Callable[[], Awaitable[None]]]:
    queue = await stack.enter_async_context(Queue(settings.queue_url, region))
    try:
        await queue.open()
    except SidecarError as error:  # each delivery tries it again
        log.warning("queue.failed", reason=describe(error))
    secrets = WebhookSecrets(settings.webhook_secrets.get_secret_value(), region)

    async def send(demand: Demand) -> None:
        await queue.send(demand.to_json())

    try:
        webhook = Webhook(await secrets.read(), send, allowed=settings.allow)
    except ValueError as error:
        raise LaunchError(Exit.SETTINGS, f"{error} ({SECRETS})") from error

    async def refresh() -> None:
        while True:
            await asyncio.sleep(SECRETS_EVERY)
            try:
                webhook.replace_secrets(await secrets.read())
            except (ValueError, SidecarError) as error:  # the old ones stay in force
                log.error("secret.kept", setting=SECRETS, reason=describe(error))  # noqa: TRY400

    return make_application(webhook, settings.webhook_path), refresh


class WebhookSecrets:
    """The webhook's secrets, each by its reference."""

    def __init__(self, text: str, region: str | None) -> None:
        self._secrets = [Secret(each, SECRETS, region) for each in split_references(text)]
        self._literal = [_is_literal(each) for each in split_references(text)]

    async def read(self) -> list[str]:
        """Return all secrets; a place may hold several, one a line. Raises SidecarError."""
        values = [await secret.get() for secret in self._secrets]
        pairs = zip(values, self._literal, strict=True)
        return [each for value, literal in pairs for each in _split(value, literal=literal)]


def _is_literal(text: str) -> bool:
    try:
        return not parse_reference(text).kind
    except ValueError:  # a place that the read refuses
        return False


def _split(value: str, *, literal: bool) -> list[str]:
    return [value] if literal else split_secrets(value)


# ---- work --------------------------------------------------------------------------------------


class Poller:
    """Takes messages out of the queue, and has up to `most` of them handled at the same time."""

    def __init__(self, queue: Queue, worker: Worker, most: int, health: Health) -> None:
        self._queue = queue
        self._worker = worker
        self._most = most
        self._running: set[asyncio.Task[bool]] = set()
        self._health = health

    async def poll(self) -> None:
        """Receive and hand on, until it is cancelled. An error is said once."""
        pause = FIRST_PAUSE
        while True:
            free = self._most - len(self._running)
            if not free:  # nothing is taken that nobody has time for
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                found = await self._queue.receive(min(free, MOST), LONGEST_WAIT)
            except SidecarError as error:
                self._tell(describe(error))
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            pause = FIRST_PAUSE
            self._tell(None)
            for received in found:
                self._start(received)

    def _start(self, received: Received) -> None:
        """Handle a message beside the others; a stop does not cut it at once, as it cuts `poll`."""
        task = asyncio.create_task(process(self._queue, received, self._worker))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def finish(self, seconds: float) -> None:
        """Wait for what runs; what is not done in time is cut, and comes again."""
        if not self._running:
            return
        log.info("work.awaited", messages=len(self._running), seconds=seconds)
        _, late = await asyncio.wait(set(self._running), timeout=seconds)
        if late:
            log.error("work.cut", messages=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=1.0)

    def _tell(self, problem: str | None) -> None:
        before = self._health.problems.get("queue")
        if problem is None:
            self._health.problems.pop("queue", None)
            if before is not None:
                log.info("queue.reached")
        elif problem != before:
            self._health.problems["queue"] = problem
            log.error("queue.failed", reason=problem)
