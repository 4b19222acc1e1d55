"""Run one cell of the worker's table: a queued job, one call that fails, and what becomes of it.

Webhook, queue, poller and worker are the launcher's own. Where the fault does not pass by itself,
it is lifted as soon as the log has the cell's event: then the job must be served all the same.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench import sqs, table
from bench.deliveries import LABELS, REPOSITORY, SECRET, make_headers, make_payload
from launcher.assembly import open_worker
from launcher.demand.queue import Queue
from launcher.demand.webhook import ANSWER_WITHIN, Webhook
from launcher.serve import Health, Poller
from launcher.settings import MODELS, load
from local import agent, aws
from tests.failures.launch_cell import Ended, look, make_rule, prepare
from tests.failures.launching import Stage, open_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from docs.failures import Row
    from launcher.demand.delivery import Answer
    from local.github.jobs import Job

PATIENCE = 60.0
"""Seconds for each part of a cell."""
SOON, VISIBILITY = 0.7, 10.0
"""Seconds for which a message is delayed at most, and for which one that is handled is hidden."""
LOOK_EVERY = 0.02
LATE = 300.0
LASTING = ("403", "404", "never")
"""Faults that do not pass by themselves."""
POOLS = """\
[[pool]]
name = "build"
labels = ["bench"]
cluster = "runners"
task_definition = "runner:1"
launch_type = "EC2"
"""
MACHINES = """\
[[pool]]
name = "build"
labels = ["bench"]
place = "ec2"
launch_template = "runner"
"""
FLEET = 'instance_types = ["c7i.large", "m7i.large"]\nuser_data = "template"\n'
PLACES = {
    "work-machine": MACHINES,
    "work-machine-cancel": MACHINES,
    "work-fleet": MACHINES + FLEET,
}
"""The pools of plays whose jobs run on machines of EC2."""
TOKEN = 'token = "registration"\n'

SENDING = "SQS SendMessage (of the webhook)"
PATIENCE = 60.0
"""Seconds that the webhook waits for a queue that answers."""


class Work:
    """A webhook and a worker among the services of one cell."""

    def __init__(self, stage: Stage, queue: sqs.Queue, webhook: Webhook, poller: Poller) -> None:
        self.stage = stage
        self.queue = queue
        self._webhook = webhook
        self._poller = poller
        self._polling: asyncio.Task[None] | None = None

    def begin(self, *, late: bool = False) -> None:
        """Let the worker begin; `late`: the messages have waited for some minutes."""
        for message in self.queue.messages.values():
            message.sent -= LATE if late else 0.0
        self._polling = asyncio.create_task(self._poller.poll())

    def end(self) -> None:
        """Receive nothing more."""
        if self._polling is not None:
            self._polling.cancel()

    def queue_job(self) -> Job:
        """Queue a job at GitHub."""
        world = self.stage.hub.world
        wanted = {"repository": REPOSITORY, "labels": LABELS, "steps": []}
        return world.jobs.add(wanted, world.now())

    async def deliver(self, job: Job, action: str) -> Answer:
        """Deliver what has become of a job."""
        payload = json.loads(make_payload(job.id, job.run.id))
        payload["action"] = action
        more = {"runner_id": job.runner_id or None, "runner_name": job.runner_name or None}
        payload["workflow_job"] |= {"status": action, **more}
        body = json.dumps(payload).encode()
        return await self._webhook.take(make_headers(body, job.id), body)

    async def deliver_again(self, job: Job, action: str) -> None:
        """Deliver, and once more if that failed: somebody has GitHub do so."""
        if (await self.deliver(job, action)).status != 202:
            assert (await self.deliver(job, action)).status == 202

    async def wait_for(self, look: Any) -> Any:
        """Look until something is found; raises AssertionError with the log."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := look()):  # noqa: ASYNC110  the world has no bell for all of it
                    await asyncio.sleep(LOOK_EVERY)
                return found
        except TimeoutError:
            log = "\n".join(map(str, self.stage.log[-60:]))
            raise AssertionError(f"nothing came: {log}") from None

    def has(self, event: str) -> bool:
        """Whether the log has an event."""
        return any(each["event"] == event for each in self.stage.log)

    def online(self) -> Any:
        """Return the runner that is online, or None."""
        world = self.stage.hub.world
        return next((each for each in world.runners if world.online(each)), None)

    async def finish(self, job: Job) -> None:
        """Let the runner run the job, and tell of it; wait until nothing is left to do."""
        world = self.stage.hub.world
        runner = await self.wait_for(self.online)
        world._take(job, runner)
        await self.deliver_again(job, "in_progress")
        await self.wait_for(lambda: self.has("launch.served"))
        world.complete(job, "succeeded")
        for process in self.stage.processes.values():
            process.end(0)
        await self.deliver_again(job, "completed")
        await self.wait_for(lambda: not self.queue.messages)


async def run_cell(moto: str, row: Row, fault: str) -> Ended:
    """Run one cell."""
    cell = row.cells[fault]
    with agent.make_folder("work-") as folder:
        # A busy machine must not be taken for a queue that does not answer.
        hangs = row.call == SENDING and fault in ("time-out", "never")
        async with open_work(moto, row.play, folder, patient=not hangs) as work:
            if row.play.endswith("-cancel"):
                return await _run_cancelled(work, row, fault)
            proxy = work.stage.proxies[row.where]
            proxy.add(make_rule(row, fault))
            job = work.queue_job()
            answer = await work.deliver(job, "queued")
            if answer.status == 503:
                proxy.clear()
                # As GitHub does when somebody has it send the delivery again.
                assert (await work.deliver(job, "queued")).status == 202
            work.begin(late=row.play == "work-late")
            if answer.status == 503:
                return await _end(work, job, "503")
            if fault not in LASTING or cell.exit == "served":
                return await _end(work, job, "served")
            await work.wait_for(lambda: work.has(cell.event))
            proxy.clear()
            return await _end(work, job, "waits")


async def _run_cancelled(work: Work, row: Row, fault: str) -> Ended:
    """Have a job cancelled while its task starts."""
    stage, cell = work.stage, row.cells[fault]
    stage.hold_agents()
    work.begin()
    job = work.queue_job()
    assert (await work.deliver(job, "queued")).status == 202
    await work.wait_for(lambda: work.has("token.handed_over"))
    proxy = stage.proxies[row.where]
    proxy.add(make_rule(row, fault))
    stage.hub.world.cancel(job)
    assert (await work.deliver(job, "completed")).status == 202
    if fault in LASTING and cell.exit != "undone":
        await work.wait_for(lambda: work.has(cell.event))
        proxy.clear()
    await work.wait_for(lambda: not work.queue.messages)
    return await look(stage, cell.exit)


async def _end(work: Work, job: Job, how: str) -> Ended:
    await work.finish(job)
    return await look(work.stage, how)


@asynccontextmanager
async def open_work(moto: str, play: str, folder: Path, *, patient: bool) -> AsyncIterator[Work]:
    """Open the services of a cell, a webhook and a worker."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        queue = await enter(sqs.serving())
        queue.longest, queue.visibility = SOON, VISIBILITY

        async def tell(event: Any) -> None:
            queue.send({"MessageBody": json.dumps(event)})

        stage = await enter(
            open_stage(
                moto,
                tell,
                machines=play in PLACES,
                sqs=queue.url.removesuffix(sqs.QUEUE),
                dynamodb=await enter(table.serving()),
            )
        )
        pools = folder / "pools.toml"
        pools.write_text(
            PLACES.get(play, POOLS) + (TOKEN if play == "work-token" else ""), encoding="utf-8"
        )
        credential = await prepare(stage, play.partition("-")[2])
        given = {
            "github_url": stage.proxies["github"].url,
            "cluster": None,
            "task_definition": None,
            "queue_url": queue.url,
            "table": "launches",
            "pools": str(pools),
            **credential,
        }
        settings, _ = load({}, stage.environment(**given), MODELS["work"])
        parts = await enter(open_worker(settings, aws.REGION))  # type: ignore[arg-type]
        poller = Poller(parts.queue, parts.worker, 10, Health())
        stack.push_async_callback(poller.finish, 1.0)
        sender = await enter(Queue(queue.url, aws.REGION))

        async def send(demand: Any) -> None:
            await sender.send(demand.to_json())

        work = Work(
            stage,
            queue,
            Webhook([SECRET], send, within=PATIENCE if patient else ANSWER_WITHIN),
            poller,
        )
        stack.callback(work.end)
        yield work
