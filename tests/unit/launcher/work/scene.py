"""A worker among small fakes of ECS, SSM and GitHub, with a table in memory and its own clock.

Messages are kept in memory: what the worker puts off comes when the clock is there.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

from launcher.demand.delivery import Demand
from launcher.demand.message import Message
from launcher.identity import task_id
from launcher.places import Started, TaskState, Why
from launcher.pools.document import parse_pools
from launcher.record.records import Records
from launcher.work import Maxima, Rates, Resources, Worker
from launcher.work.queued import launch_id
from sidecar import github
from tests.storms.table import Table

if TYPE_CHECKING:
    from launcher.pools.pool import Pools

TABLE = "launches"
POOLS = """
[[pool]]
name = "small"
labels = ["small"]
task_definition = "runner"
cluster = "runners"
launch_type = "FARGATE"
subnets = ["subnet-0a1b2c3d"]
maximum = 3
token = "just-in-time"
"""
START = 1_800_000_000.0


def arn(number):
    """Return the ARN of a task."""
    return f"arn:aws:ecs:eu-central-1:1:task/runners/{number:032x}"


def make_demand(number=1, action="queued", **more):
    """Make the demand of a job."""
    known = {
        "action": action,
        "delivery": "d",
        "repository": "octo/app",
        "repository_id": 7,
        "organization": "octo",
        "enterprise": None,
        "installation": None,
        "job_id": number,
        "run_id": 100,
        "run_attempt": 1,
        "labels": ("self-hosted", "small"),
    }
    return Demand(**{**known, **more})


class Tasks:
    """ECS: answers RunTask from a list; a task is RUNNING until it is stopped."""

    def __init__(self):
        self.answers = []
        self.sent = []
        self.states = {}
        self.stops = []
        self.by_token = {}
        self.before = None
        """Called with each request before it is answered."""

    def __call__(self, cluster, container):
        """Return the client of a cluster."""
        assert (cluster, container) == ("runners", "runner")
        return self

    async def start(self, request):
        """Answer a request; one with a known client token is answered as before."""
        self.sent.append(request)
        if self.before:
            await self.before(request)
        if (known := self.by_token.get(request["clientToken"])) is not None:
            return known
        answer = self.answers.pop(0) if self.answers else self._run()
        if isinstance(answer, Exception):
            raise answer
        if getattr(answer, "why", None) is not Why.THROTTLE:  # AWS has not answered that one
            self.by_token[request["clientToken"]] = answer
        return answer

    def _run(self):
        task = arn(len(self.states) + 1)
        self.states[task] = TaskState(task, "RUNNING", False, None, "")
        return Started(task)

    async def look(self, tasks):
        """Describe tasks."""
        return {task_id(task): self.states[task] for task in tasks if task in self.states}

    async def stop(self, task, reason):
        """End a task."""
        self.stops.append((task, reason))
        if not self.states[task].stopping:
            self.states[task] = TaskState(task, "DEPROVISIONING", True, None, reason)

    def end(self, task, exit_code, reason="EssentialContainerExited: gone"):
        """Let a task end; return its event."""
        self.states[task] = TaskState(task, "STOPPED", True, exit_code, reason)
        stop_code, _, stopped = reason.partition(": ")
        container = {"name": "runner"}
        if exit_code is not None:
            container["exitCode"] = exit_code
        return {
            "detail-type": "ECS Task State Change",
            "source": "aws.ecs",
            "detail": {
                "taskArn": task,
                "clusterArn": "arn:aws:ecs:eu-central-1:1:cluster/runners",
                "lastStatus": "STOPPED",
                "desiredStatus": "STOPPED",
                "stopCode": stop_code,
                "stoppedReason": stopped,
                "containers": [container],
                "startedBy": "runner-launcher/unknown",
            },
        }

    @property
    def living(self):
        """Return the tasks that have not ended and are not about to."""
        return [task for task, state in self.states.items() if not state.stopping]


class Parameters:
    """SSM's token parameters."""

    def __init__(self):
        self.held = {}
        self.written = []
        self.calls = []
        """How many tokens each call deleted that deletes several."""
        self.error = None

    async def write(self, task, token, tags, is_used):  # noqa: ARG002
        """Keep a token."""
        if self.error:
            raise self.error
        self.written.append((task, token.text, tags))
        self.held[task] = token.text

    async def exists(self, task):
        """Whether there is one."""
        return task in self.held

    async def delete(self, task):
        """Forget it."""
        return self.held.pop(task, None) is not None

    async def delete_many(self, tasks):
        """Forget several, by their tasks' ids."""
        if self.error:
            raise self.error
        self.calls.append(len(tasks))
        self.held = {task: text for task, text in self.held.items() if task_id(task) not in tasks}


class Hub:
    """GitHub: connection, API and runners in one."""

    def __init__(self):
        self.url = "https://github.com/octo/app"
        self.left, self.resets_at = 1.0, 0.0
        self.runners_by_id = {}
        self.jobs = {}
        """Answers of job look-ups, by job."""
        self.runs = {}
        self.calls = []
        self.error = None
        self._number = 20

    def for_demand(self, demand):
        """Return the connection for a demand."""
        del demand
        return self

    async def api(self):
        """Return the API."""
        return self

    async def runners(self):
        """Return the runners' calls."""
        return self

    async def call(self, method, path, *, expects, tries=None, **_):
        """Answer a look-up, or run a run again."""
        assert tries == 1
        self.calls.append(path)
        if self.error:
            raise self.error
        if path.endswith("/rerun-failed-jobs"):
            assert (method, list(expects)) == ("POST", [201])
            return self.run_again(int(path.split("/")[-2]))
        assert method == "GET"
        kind, number = path.split("/")[-2:]
        known = self.jobs if kind == "jobs" else self.runs
        body = known.get(int(number))
        if body is None and 404 not in expects:
            raise github.PermissionDenied("not found", 404)
        return SimpleNamespace(status=200 if body else 404, body=body)

    def run_again(self, run):
        """Begin the next attempt of a run, with jobs of new numbers."""
        if self.runs[run]["status"] != "completed":
            raise github.PermissionDenied("This workflow is already running", 403)
        self.runs[run] |= {"run_attempt": self.runs[run]["run_attempt"] + 1, "status": "queued"}
        return SimpleNamespace(status=201, body={})

    async def create_jit_config(self, name, labels, group, work, *, tries):
        """Register a runner."""
        assert tries == 1
        self.calls.append("jit")
        if self.error:
            raise self.error
        if await self.find(name):
            raise github.NameTaken("taken", 409)
        self._number += 1
        self.runners_by_id[self._number] = github.Runner(self._number, name, False, False)
        self.registered = (labels, group, work)
        return github.JitConfig(f"blob of {name}", self._number, name)

    async def find(self, name):
        """Find a runner."""
        found = self.runners_by_id.values()
        return next((runner for runner in found if runner.name == name), None)

    async def get(self, runner_id):
        """Return a runner."""
        return self.runners_by_id.get(runner_id)

    async def delete(self, runner_id):
        """Delete a runner, unless it has a job."""
        if self.runners_by_id[runner_id].busy:
            raise github.RunnerBusy("busy", 422)
        self.calls.append("delete runner")
        del self.runners_by_id[runner_id]

    def set_runner(self, name, **state):
        """Change a runner's state."""
        (runner,) = [each for each in self.runners_by_id.values() if each.name == name]
        self.runners_by_id[runner.id] = replace(runner, **state)

    def remove(self, name):
        """Forget a runner, as GitHub does after its job."""
        kept = self.runners_by_id.items()
        self.runners_by_id = {key: runner for key, runner in kept if runner.name != name}


@dataclass
class Scene:
    """A worker, what surrounds it, and its queue."""

    records: Records
    clock: list
    pools: Pools
    tasks: Tasks = field(default_factory=Tasks)
    parameters: Parameters = field(default_factory=Parameters)
    hub: Hub = field(default_factory=Hub)
    maxima: Maxima = field(default_factory=Maxima)
    queue: list = field(default_factory=list)
    """Messages that were put off: when they come, and what."""
    put_off: list = field(default_factory=list)
    """All answers "later"."""
    ticks: list = field(default_factory=list)
    rates: Rates = field(default_factory=Rates)
    ec2: object = None
    """A client of EC2, for pools of machines."""

    def __post_init__(self):
        self.hub.runs[100] = {
            "event": "push",
            "head_repository": {"full_name": "octo/app"},
            "run_attempt": 1,
            "status": "in_progress",
        }
        self.worker = self.make_worker()

    def make_worker(self):
        """Make a worker, as a new process has it."""

        async def tick():
            self.ticks.append(self.now())

        return Worker(self.make_resources(), tick)

    def make_resources(self):
        """Make the resources of a worker, or of whatever else starts tasks."""
        return Resources(
            self.records,
            lambda: self.pools,
            self.hub,
            self.tasks,
            self.parameters,
            "default",
            "ecs-",
            "/tokens",
            self.maxima,
            self.now,
            random.Random(7),  # noqa: S311  chance, not secrecy
            rates=self.rates,
            ec2=self.ec2,
        )

    def now(self):
        """Return the time."""
        return self.clock[0]

    async def send(self, body, **message):
        """Handle a new message; what is put off waits in the queue."""
        text = body.to_json() if isinstance(body, Demand) else json.dumps(body)
        given = {"first_seen": self.now(), "sent": self.now(), **message}
        return await self._handle(Message(text, **given))

    async def _handle(self, message):
        later = await self.worker.handle(message)
        if later is not None:
            self.put_off.append(later)
            due = self.now() + min(900, later.seconds)
            again = replace(message, count=message.count + 1, received=1, sent=self.now())
            self.queue.append((due, len(self.put_off), again))
        return later

    async def wait(self, seconds):
        """Let time pass; handle what comes."""
        until = self.now() + seconds
        while self.queue and min(self.queue)[0] <= until:
            first = min(self.queue, key=lambda item: item[:2])
            self.queue.remove(first)
            self.clock[0] = max(self.now(), first[0])
            await self._handle(first[2])
        self.clock[0] = until

    async def launch(self, number=1):
        """Return the record of a job's launch."""
        return await self.records.read(launch_id("default", make_demand(number)))

    async def begin(self, number=1):
        """Queue a job, and return its launch, which waits for its job."""
        return await self.begin_of(make_demand(number))

    async def begin_of(self, demand):
        """Queue the job of a demand, and return its launch."""
        await self.send(demand)
        launch = await self.launch(demand.job_id)
        assert launch.handed_over, launch
        return launch

    async def boot(self, number=1, *, runner=None):
        """Let the agent of a launch read its token, and its runner come online."""
        launch = await self.launch(number)
        self.parameters.held.pop(launch.place, None)
        self.hub.set_runner(runner or launch.runner_name, online=True)
        return launch

    async def run(self, number, runner):
        """Let a runner take a job, and GitHub tell it."""
        kept = self.parameters.held.items()
        self.parameters.held = {key: it for key, it in kept if task_id(key) not in runner}
        self.hub.set_runner(runner, online=True, busy=True)
        self.hub.jobs[number] = {"status": "in_progress", "runner_name": runner}
        return await self.send(make_demand(number, "in_progress", runner_name=runner, runner_id=1))

    async def complete(self, number, runner, task, exit_code=0):
        """Let a job end: GitHub tells it, and the task ends."""
        if runner is not None:
            self.hub.remove(runner)
        self.hub.jobs[number] = {
            "status": "completed",
            "conclusion": "success",
            "runner_name": runner,
        }
        await self.send(make_demand(number, "completed", conclusion="success", runner_name=runner))
        await self.send(self.tasks.end(task, exit_code))

    async def check_nothing_left(self):
        """Check that no task, runner, token, place and message is left."""
        assert self.tasks.living == []
        assert self.hub.runners_by_id == {}
        assert self.parameters.held == {}
        assert await self.records.count("pool/small") == 0
        assert self.queue == []


class Calm:
    """No fault, and no delay."""

    async def call(self, service, name, act):
        """Do what is asked."""
        del service, name
        return act()


class Client:
    """A client of the table in memory."""

    def __init__(self):
        self.table = Table(Calm())

    async def connect(self):
        """Return the table's calls."""
        return self.table


def open_scene(pools=POOLS, **more):
    """Open a scene; `pools` is a document."""
    clock = [START]
    records = Records(Client(), TABLE, "worker", now=lambda: clock[0])
    return Scene(records, clock, parse_pools(pools), **more)


def play(story, pools=POOLS, **more):
    """Run a story, for 30 s at most."""
    return asyncio.run(asyncio.wait_for(story(open_scene(pools, **more)), 30))
