"""A scene in which `explain` asks: GitHub's, ECS's, SSM's and CloudWatch's answers from memory.

What the worker of `tests.unit.launcher.work.scene` has done is asked about.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

from botocore.exceptions import ClientError

from launcher.explain.gathering import Gathering, Sources
from launcher.explain.homes import Homes
from launcher.explain.judging import judge
from launcher.explain.sources import logs
from launcher.explain.target import parse_target
from launcher.identity import task_id
from sidecar import github
from tests.unit.launcher.work.scene import POOLS, START, open_scene

REPOSITORY = "octo/app"
URL = f"https://github.com/{REPOSITORY}/actions/runs/100/job/1"
LOG = {"awslogs-group": "/runners", "awslogs-stream-prefix": "agent", "awslogs-region": "eu-1"}
SECRET = "ghp_" + "canary" * 6


def iso(seconds=0.0):
    """Return a moment as GitHub and logs write it, so many seconds after the start."""
    return datetime.fromtimestamp(START + seconds, UTC).isoformat().replace("+00:00", "Z")


def moment(seconds=0.0):
    """Return a moment as AWS's library gives it."""
    return datetime.fromtimestamp(START + seconds, UTC)


def make_job(status="queued", **more):
    """Make a job as GitHub describes it."""
    return {
        "id": 1,
        "run_id": 100,
        "run_attempt": 1,
        "name": "build",
        "status": status,
        "conclusion": None,
        "labels": ["self-hosted", "small"],
        "created_at": iso(-1),
        "started_at": iso(-1),
        "completed_at": None,
        "runner_name": None,
        "html_url": URL,
        **more,
    }


def make_run(**more):
    """Make a run as GitHub describes it."""
    return {
        "id": 100,
        "name": "CI",
        "event": "push",
        "head_repository": {"full_name": REPOSITORY},
        "repository": {"id": 7, "full_name": REPOSITORY},
        "run_attempt": 1,
        "status": "in_progress",
        **more,
    }


def event(name, seconds=0.0, level="info", **facts):
    """Make a line of a log."""
    return json.dumps({**facts, "event": name, "level": level, "timestamp": iso(seconds)})


def denied(operation):
    """Make AWS's refusal of an operation."""
    return ClientError(
        {
            "Error": {"Code": "AccessDeniedException", "Message": "no identity-based policy"},
            "ResponseMetadata": {"HTTPStatusCode": 400},
        },
        operation,
    )


@dataclass
class Aws:
    """ECS, SSM and CloudWatch Logs in one client."""

    tasks: dict = field(default_factory=dict)
    """What DescribeTasks tells, by a task's id."""
    parameters: dict = field(default_factory=dict)
    streams: dict = field(default_factory=dict)
    """Lines by stream."""
    log: dict = field(default_factory=lambda: {"logDriver": "awslogs", "options": LOG})
    wrong: dict = field(default_factory=dict)
    """What an operation raises."""
    asked: list = field(default_factory=list)

    async def connect(self):
        """Return the client."""
        return self

    def __call__(self, cluster, container):
        """Return the client of a cluster."""
        self.asked.append((cluster, container))
        return self

    def _check(self, operation):
        if operation in self.wrong:
            raise self.wrong[operation]

    async def describe_tasks(self, cluster, tasks):
        """Describe tasks."""
        assert cluster == "runners"
        self._check("DescribeTasks")
        return {"tasks": [self.tasks[task] for task in tasks if task in self.tasks]}

    async def describe_task_definition(self, taskDefinition):  # noqa: N803  AWS's own name
        """Describe a task definition."""
        assert "runner" in taskDefinition
        self._check("DescribeTaskDefinition")
        container = {"name": "runner", "logConfiguration": self.log}
        return {"taskDefinition": {"containerDefinitions": [container]}}

    async def describe_parameters(self, ParameterFilters):  # noqa: N803  AWS's own name
        """Describe a parameter."""
        self._check("DescribeParameters")
        (name,) = ParameterFilters[0]["Values"]
        return {"Parameters": [self.parameters[name]] if name in self.parameters else []}

    async def read_log(self, place):
        """Read a log, as `AgentLogs` does."""
        self._check("FilterLogEvents")
        return self.streams.get(place.stream, [])


@dataclass
class Hub:
    """GitHub: connections, API and runners in one."""

    jobs: dict = field(default_factory=lambda: {1: make_job()})
    run: dict = field(default_factory=make_run)
    runners_by_name: dict = field(default_factory=dict)
    deliveries: list = field(default_factory=list)
    groups: list = field(default_factory=lambda: ["Default"])
    url: str = f"https://github.com/{REPOSITORY}"
    events: list = field(default_factory=lambda: ["workflow_job"])
    """What the App is subscribed to."""
    wrong: Exception | None = None
    paths: list = field(default_factory=list)

    def connect(self, repository, installation=None, app=None):
        """Return the connection of a repository."""
        assert (repository, installation, app) == (REPOSITORY, None, None)
        return self

    def connect_as_apps(self):
        """Return the App."""
        return [("1", self)]

    async def api(self):
        """Return the API."""
        return self

    async def runners(self):
        """Return the calls for runners."""
        return self

    async def find(self, name):
        """Find a runner."""
        return self.runners_by_name.get(name)

    def add_runner(self, name, *, online=True, busy=False):
        """Add a runner."""
        self.runners_by_name[name] = github.Runner(21, name, busy, online)

    async def call(self, method, path, *, expects, tries):
        """Answer."""
        assert (method, tries, list(expects)) == ("GET", 1, [200])
        self.paths.append(path)
        if self.wrong is not None:
            raise self.wrong
        body = self._answer(path)
        if body is None:
            raise github.PermissionDenied(f"cannot GET {path}: GitHub answers 404", 404)
        return SimpleNamespace(status=200, body=body, headers={})

    def _answer(self, path):
        last = path.partition("?")[0].rpartition("/")[2]
        if path == "/app":
            return {"events": self.events}
        if path.startswith("/app/hook/deliveries"):
            return self._find_delivery(last)
        if "/runner-groups" in path:
            return {"runner_groups": [{"name": name, "id": 1} for name in self.groups]}
        if "/actions/jobs/" in path:
            return self.jobs.get(int(last))
        if path.partition("?")[0].endswith("/jobs"):
            return {"jobs": list(self.jobs.values())}
        return self.run if "/actions/runs/" in path else None

    def _find_delivery(self, last):
        if last == "deliveries":
            return self.deliveries
        return next(each for each in self.deliveries if str(each["id"]) == last)

    def deliver(self, code=202, answer="queued", *, seconds=0.0, job=1, status="OK", guid="g"):
        """Add an attempt to tell of a job."""
        self.deliveries.insert(
            0,
            {
                "id": len(self.deliveries) + 1,
                "guid": guid,
                "delivered_at": iso(seconds),
                "redelivery": False,
                "status": status,
                "status_code": code,
                "event": "workflow_job",
                "action": "queued",
                "repository_id": 7,
                "request": {"payload": {"workflow_job": {"id": job}}},
                "response": {"payload": answer},
            },
        )


@dataclass
class Asking:
    """All that `explain` asks, beside a scene."""

    scene: object = None
    aws: Aws = field(default_factory=Aws)
    hub: Hub = field(default_factory=Hub)
    messages: dict = field(default_factory=lambda: {"waiting": 0, "in flight": 0, "delayed": 0})
    ec2: object = None
    """A real client of EC2, in place of the small one."""

    async def count(self):
        """Count the queue's messages."""
        return self.messages

    async def explain(self, monkeypatch, what=URL, now=START + 5, **more):
        """Ask; return the story."""
        monkeypatch.setattr(logs.AgentLogs, "read", lambda _, place: self.aws.read_log(place))
        ec2 = self.ec2 or self.aws
        homes = Homes(self.aws, ec2, self.aws, "/tokens", "runners", "runner", None)
        scene = self.scene

        async def read_pools():
            return scene.pools

        given = {
            "connections": self.hub,
            "records": scene.records if scene else None,
            "pools": read_pools if scene else None,
            "queue": self,
            **more,
        }
        sources = Sources(homes, "default", **given)
        now = scene.now() + 5 if scene else now
        case = await Gathering(sources, parse_target(what, "ecs-"), now).gather()
        return judge(case)


def describe(task, status="RUNNING", **more):
    """Make what DescribeTasks tells of a task."""
    return {
        "taskArn": task,
        "taskDefinitionArn": "arn:aws:ecs:eu-1:1:task-definition/runner:1",
        "lastStatus": status,
        "launchType": "FARGATE",
        "createdAt": moment(1),
        "containers": [{"name": "runner"}],
        **more,
    }


def texts(story, source=None, mark=None):
    """Return the texts of a story's lines."""
    return [
        entry.text
        for entry in story.entries
        if source in (None, entry.source) and mark in (None, entry.mark)
    ]


@asynccontextmanager
async def opened(pools=POOLS, **more):
    """Yield a scene with a worker, and what asks about it."""
    scene = open_scene(pools, **more)
    yield scene, Asking(scene)


def play(story):
    """Run a story, for 30 s at most."""
    asyncio.run(asyncio.wait_for(story, 30))


def stream(task):
    """Return the stream of a task's agent."""
    return f"agent/runner/{task_id(task)}"


async def begin(scene, asking):
    """Queue a job; its task runs, and its token is there. Returns its launch."""
    asking.hub.deliver()
    launch = await scene.begin()
    asking.aws.tasks[task_id(launch.place)] = describe(launch.place, startedAt=moment(3))
    name = f"/tokens/{task_id(launch.place)}"
    asking.aws.parameters[name] = {"LastModifiedDate": moment(2), "Version": 1, "Name": name}
    return launch
