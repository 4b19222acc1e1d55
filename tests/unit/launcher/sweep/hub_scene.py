"""Repairs among the stand-in for GitHub, by HTTP, and a table and a queue in memory."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

from launcher.connections import Connections
from launcher.demand.queue import Queue
from launcher.pools.document import parse_pools
from launcher.record.records import Records, make_client
from launcher.secret import Secret
from launcher.sweep.around import Around
from launcher.sweep.claims import Claims
from launcher.sweep.findings import Report
from launcher.sweep.hub import Hub
from launcher.sweep.inventory import Inventory
from launcher.sweep.pacing import Pace
from local import github
from local.github.apps import fresh_key
from local.github.scope import Scope
from sidecar.aws.session import ServiceClient
from tests.storms.calls import Weather
from tests.storms.sqs import Sqs
from tests.storms.table import Table
from tests.unit.launcher.sweep.scene import POOLS, QUEUE, REPOSITORY, TOKENS

PAT = "ghp_" + "a" * 36
HOOK_URL = "http://127.0.0.1:9/webhook"
OWNER = REPOSITORY.partition("/")[0]


class HubScene:
    """A GitHub whose webhooks reach nobody, unless `taken` says so."""

    def __init__(self, served):
        self.served, self.world = served, served.world
        self.taken = False
        self.later = 0.0
        """Seconds by which the sweep comes later than now."""
        self.world.hooks.post = self._post
        weather = Weather(random.Random(1), latency=(0.0, 0.0))  # noqa: S311  chance, not secrecy
        self.table, self.sqs = Table(weather), Sqs(weather)

    async def _post(self, url, body, headers):
        del body, headers
        if self.taken:
            return 202, {}, ""
        raise OSError(f"nobody is at {url}")

    def now(self):
        """Return the time of the sweep."""
        return time.time() + self.later

    def add_hook(self, kind, url=HOOK_URL):
        """Add a webhook of an App, an organization or a repository; return the credential."""
        if kind == "app":
            private, *numbers = fresh_key()
            app = self.world.apps.add("launcher", *numbers)
            self.world.apps.install(app, OWNER)
            self.world.hooks.add(url, "", app=app)
            return {"apps": [(str(app.id), Secret(private, "", None))]}
        path = f"/orgs/{OWNER}" if kind == "organization" else f"/repos/{REPOSITORY}"
        self.world.hooks.add(url, "", scope=Scope.of_path(path))
        return {"token": Secret(PAT, "", None)}

    async def queue_job(self, *labels, **more):
        """Queue a job, and wait until all webhooks were sent."""
        wanted = {"repository": REPOSITORY, "labels": list(labels), **more}
        job = self.world.jobs.add(wanted, self.world.now())
        await self.wait_for_answers()
        return job

    async def wait_for_answers(self):
        """Wait until each delivery has its outcome."""
        hooks = self.world.hooks
        done = lambda: all(each.status_code for each in hooks.deliveries) or None  # noqa: E731
        assert await self.world.changes.until(done, 300)

    @property
    def messages(self):
        """Return the messages of the queue."""
        return self.sqs.bodies()


def play(story, kind="app", **more):
    """Play a story: `open_around` opens what a sweep works with."""

    async def whole():
        async with github.serving(pats=[PAT]) as served:
            scene = HubScene(served)
            credential = scene.add_hook(kind)
            with _reached(scene):
                async with AsyncExitStack() as stack:
                    around = await _open(scene, stack, credential, **more)
                    await story(SimpleNamespace(scene=scene, around=around))

    asyncio.run(asyncio.wait_for(whole(), 900))


@contextmanager
def _reached(scene):
    models = {"dynamodb": scene.table, "sqs": scene.sqs}

    async def connect(client):
        return models[client._service.name]

    with mock.patch.object(ServiceClient, "connect", connect):
        yield


async def _open(scene, stack, credential, *, pools=POOLS, queue=True, table=True):
    enter = stack.enter_async_context
    records = Records(await enter(make_client("eu-central-1")), "launches", "w", now=scene.now)
    loaded = parse_pools(pools) if pools else None
    connections = Connections(scene.served.url, "repository", **credential)
    return Around(
        Claims("default", "ecs-", TOKENS),
        None,
        Hub(await enter(connections)),
        None,
        None,
        Pace(1000),
        scene.served.url,
        pools=(lambda: loaded) if loaded else None,
        records=records if table else None,
        queue=await enter(Queue(QUEUE, "eu-central-1")) if queue else None,
        now=scene.now,
    )


async def repair(stage, made, **more):
    """Let a repair work once; return its report."""
    report, seen = Report(), Inventory(stage.scene.now())
    if stage.around.records is not None:
        seen.ledger = await stage.around.records.read_all()
    await made.repair(seen, report, **{"dry_run": False, **more})
    return report


def told(report):
    """Return name, outcome and detail of each result."""
    return [(each.finding.name, str(each.outcome), each.detail) for each in report.results]


def read(message):
    """Read a message of the queue."""
    return message if isinstance(message, dict) else json.loads(message)
