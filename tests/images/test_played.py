"""Run the task definitions from their JSON on a real engine, with the images that they name."""

import asyncio
import json
import shlex
from typing import NamedTuple

import pytest

from local import aws, faults
from local.github import apps
from local.github.scope import Scope
from tests.engines.far import ECS_AGENT, GATEWAY
from tests.images import ecs_task
from tests.images.building import DIND, RUNNER
from tests.images.hubs import GITHUB, serve_github
from tests.lives.stage import read_output
from tests.repository.test_task_definitions import FILLED, called, granted, run_fill

pytestmark = [pytest.mark.docker, pytest.mark.root]

PATIENCE = 300.0
"""Seconds that a life may take."""
FIND = ("find", "/var/lib", "-ignore_readdir_race")  # the engine removes files meanwhile
PARAMETER = FILLED["TOKEN_PATH"] + "0f3a"
HERE = FILLED | {"IMAGE": RUNNER, "DIND_IMAGE": DIND, "GITHUB_URL": f"{GITHUB}/octo/repo"}

# An image of its own, since none can be pulled: a shell, and what a job container needs here.
IMPORTED = """
programs="/bin/sh /usr/bin/cat /usr/bin/tail /usr/bin/curl"
tar --dereference --create $programs $(ldd $programs | grep -o '/lib[^ ]*' | sort -u) |
  docker import - tools
"""
# As actions/runner starts a job container, and runs a step in it.
JOB_CONTAINER = """
work=$(dirname "$RUNNER_TEMP")
mkdir -p "$RUNNER_TEMP/_github_home"
docker create --name job-container --workdir /__w/repo/repo --env HOME=/github/home \\
  --volume /var/run/docker.sock:/var/run/docker.sock \\
  --volume "$work":/__w --volume /home/runner/externals:/__e:ro \\
  --volume "$work/_temp":/__w/_temp --volume "$work/_actions":/__w/_actions \\
  --volume "$work/_tool":/__w/_tool --volume "$work/_temp/_github_home":/github/home \\
  --entrypoint tail tools -f /dev/null
docker start job-container
echo "said by the step" >"$GITHUB_WORKSPACE/by-the-step"
docker exec job-container sh -c '
  cat by-the-step
  echo "said by the container" >by-the-container
  echo "kept by the container" >/github/home/kept
  [ -x /__e/node20/bin/node ] && echo "node is there"
  curl --silent --unix-socket /var/run/docker.sock http://docker/_ping && echo " from the daemon"
  curl --silent "http://ECS_AGENT$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" && echo
'
cat "$GITHUB_WORKSPACE/by-the-container" "$RUNNER_TEMP/_github_home/kept"
docker rm --force job-container
""".replace("ECS_AGENT", ECS_AGENT)
FOR_SERVICES = {"ecs:UpdateTaskProtection"}
"""What only a service's task can use: the others are refused it, and work all the same."""
SEEN = (
    "said by the step",
    "said by the container",
    "kept by the container",
    "node is there",
    "OK from the daemon",
    f'"RoleArn":"{aws.TASK_ROLE}"',
)


def definition(name):
    """Return a task definition, filled in with the images that were built."""
    return json.loads(run_fill(f"{name}/task-definition.json", HERE)[1])


class Stage:
    """One life of a task definition."""

    def __init__(self, name, instance, folder):
        self.name, self.instance, self.folder = name, instance, folder
        self.definition = definition(name)

    def run(self, *steps, prepare=None):
        """Run it with a job of these steps; `prepare` puts what it registers with."""
        with ecs_task.make_network(
            self.definition, self.instance.engine, self.instance.task
        ) as self.network:
            return self.network.task.far.play(self._run(steps, prepare or self.put))

    async def put(self, world):
        """Put a token, as a launcher does; returns what the launcher overrides."""
        token = world.mint("registration", Scope.of_path("/repos/octo/repo")).value
        await asyncio.to_thread(aws.put, self.network.task.aws, PARAMETER, token)
        return {"SIDECAR_TOKEN_PARAMETER": PARAMETER}, {}

    async def _run(self, steps, prepare):
        task = self.network.task
        before = len(task.agent_requests())
        async with (
            serve_github(self.folder) as (world, trusted),
            faults.serving(task.aws, GATEWAY) as seen,
        ):
            overrides, secret = await prepare(world)
            job = world.jobs.add({"steps": [{"run": step} for step in steps]}, world.now())
            given = {
                "SSL_CERT_FILE": trusted.where,
                "AWS_REGION": aws.REGION,
                "AWS_ENDPOINT_URL": seen.url,  # of every service, so that none goes unseen
            }
            with ecs_task.run_task(
                *(self.definition, self.instance.engine, self.network, secret),
                overrides | given,
                f"--volume={trusted.volume}",
            ) as running:
                code = await asyncio.to_thread(running.wait_for_end, "runner", PATIENCE)
                log = running.log("runner")
            assert (code, job.result) == (0, "succeeded"), f"{log}\n{job.log()}"
            assert list(world.runners) == []
        assert await asyncio.to_thread(aws.names, task.aws) == []
        agent = [(one["method"], one["path"]) for one in task.agent_requests()[before:]]
        return Outcome(read_output(job), log, called(seen.requests, agent))


class Outcome(NamedTuple):
    """What a life left to look at."""

    output: str
    """What the job printed."""
    log: str
    called: set[str]
    """The actions that the task role must allow."""

    def find_events(self, name):
        """Return the agent's events of that name."""
        return ecs_task.find_events(self.log, name)


@pytest.fixture
def stage(instance, tmp_path):
    """Return what makes the stage of a task definition."""
    return lambda name: Stage(name, instance, tmp_path)


@pytest.mark.parametrize(
    ("name", "mode"), [("ec2-docker-sock", "pass-through"), ("ec2-docker-in-docker", "netfilter")]
)
def test_job_containers_share_the_workspace(stage, instance, name, mode):
    """A container reads what a step writes, and the reverse; it has node, docker and the role.

    Afterwards nothing of the life is left on the instance, but one copy of the runner's node.
    """
    outcome = stage(name).run(IMPORTED, JOB_CONTAINER)
    for what in SEEN:
        assert what in outcome.output
    assert outcome.find_events("relay.mode_chosen")[0]["mode"] == mode
    assert outcome.called - FOR_SERVICES == granted("task-role.json")
    assert instance.engine.docker("ps", "--all", "--quiet").split() == []
    assert instance.engine.docker("volume", "ls", "--quiet").split() == []
    left = instance.engine.run_command(*FIND, "-path", "*/runner-sidecar/runner-*")
    assert left.split() == []


def test_a_launched_task_on_fargate(stage):
    """With the definition and a token a job runs, and its steps have the task role.

    The definition's health check succeeds; as ECS does, the step asks again if it is late.
    """
    life = stage("fargate")
    kind, *health = life.definition["containerDefinitions"][0]["healthCheck"]["command"]
    again = "tries=$((tries + 1)); [ $tries -lt 5 ]"  # else the step fails
    asked = f"tries=0; until {shlex.join(health)}; do {again}; done; echo {kind} is well"
    outcome = life.run(asked, 'curl --silent "$RUNNER_SIDECAR_RELAY_URI"; id -un')
    assert "CMD is well\n" in outcome.output
    assert f'"RoleArn":"{aws.TASK_ROLE}"' in outcome.output
    assert "runner\n" in outcome.output
    assert outcome.find_events("relay.mode_chosen")[0]["mode"] == "local"
    assert outcome.called - FOR_SERVICES == granted("task-role.json")


def test_a_task_of_a_service(stage):
    """The App's key comes by the execution role; the job never sees it; the task is protected."""
    life = stage("service")

    async def prepare(world):
        pem, modulus, exponent = apps.fresh_key()
        known = world.apps.add("runners", modulus, exponent)
        world.apps.install(known, "octo")
        (one,) = life.definition["containerDefinitions"][0]["secrets"]
        return {"SIDECAR_GITHUB_APP_ID": known.client_id}, {one["valueFrom"]: pem}

    outcome = life.run("env", prepare=prepare)
    assert "PRIVATE KEY" not in outcome.output + outcome.log
    assert outcome.find_events("task.protected")
    assert outcome.called == granted("service/task-role.json")
