"""compose.yaml as a person runs it, on a real engine: its story, its end, what it leaves."""

import asyncio
import json

import pytest

from local.compose.job import CONTAINERS
from tests.engines.engine import Failed
from tests.engines.roots import REPOSITORY
from tests.images.building import there
from tests.images.hubs import GITHUB, hub
from tests.lives.stage import read_output
from tests.local.test_demo import in_order

pytestmark = [pytest.mark.docker, pytest.mark.root]

COMPOSE = ("compose", "--file", there(REPOSITORY / "compose.yaml"), "--project-name", "story")
TIMEOUT = 180.0


@pytest.fixture
def told(instance):
    """Give what tells the story: its exit code is 0, or what it printed is in the failure."""

    def up(*files, **env):
        return instance.engine.docker(
            *(*COMPOSE, *files, "up", "--no-build", "--exit-code-from", "stand-ins"),
            env=env,
            timeout=TIMEOUT,
        )

    yield up
    instance.engine.docker(*COMPOSE, "down", "--volumes", "--timeout=0")


def runner(engine):
    """Give what the engine knows of the runner's container."""
    name = engine.docker(*COMPOSE, "ps", "--all", "--quiet", "runner").strip()
    return json.loads(engine.docker("inspect", name))[0]


def there_are(engine):
    """List all containers, networks and volumes."""
    kinds = ("container", "network", "volume")
    return tuple(engine.docker(kind, "ls", "--quiet", *_all(kind)).split() for kind in kinds)


def _all(kind):
    return ("--all",) if kind == "container" else ()


def test_the_whole_story(instance, told):
    """Token, runner, job, each nested container the task role, nothing left; and exit code 0.

    The machine is an instance with a role of its own, which nobody even asked for.
    """
    before, asked = there_are(instance.engine), instance.task.asked_of_agent()
    lines = told().splitlines()
    role = "says: I am arn:aws:sts::123456789012:assumed-role/runner-task/"
    assert in_order(
        lines,
        "has put a registration token into SSM",
        "SSM is asked for the token",
        "come online",
        "has given the job",
        *(f"“{name}” {role}" for name in CONTAINERS),
        "has removed ecs-",
        "What is left",
        "compose: ok",
    )
    assert any("SSM holds no token any more" in line for line in lines)
    assert runner(instance.engine)["State"]["ExitCode"] == 0
    assert instance.task.asked_of_instance() == []
    assert instance.task.asked_of_agent() == asked
    instance.engine.docker(*COMPOSE, "down", "--volumes", "--timeout=0")
    assert there_are(instance.engine) == before


def test_a_job_that_fails(instance, told):
    """Its result is the exit code, what it printed is shown; token and runner are gone as well."""
    with pytest.raises(Failed) as failed:
        told(FAIL="1")
    lines = str(failed.value).splitlines()
    assert "up --no-build --exit-code-from stand-ins: 1" in lines[0]
    assert in_order(
        lines,
        "is over: failed",
        "has removed ecs-",
        "parameters in SSM                                   nothing",
        "as was asked for",
        "compose: failed: the job's result: failed instead of succeeded",
    )


def test_a_task_that_ends_before_its_job(instance, told, tmp_path):
    """A mistake in its settings ends it at once: so does the story, and says what is left."""
    settings = {"SIDECAR_GITHUB_URL": "http://stand-ins/octo/demo"}
    mistaken = {"services": {"runner": {"environment": settings}}}
    (tmp_path / "mistaken.json").write_text(json.dumps(mistaken))
    with pytest.raises(Failed) as failed:
        told("--file", there(tmp_path / "mistaken.json"))
    assert "compose: failed: the job's result: queued" in str(failed.value)
    assert runner(instance.engine)["State"]["ExitCode"] == 11


# --- a repository of one's own --------------------------------------------------------------------

OWN = ("compose", "--file", there(REPOSITORY / "compose.own.yaml"))
ASKED = "curl --silent --output /dev/null --max-time 2 http://169.254.169.254/ || echo none here"


def test_a_repository_of_one_s_own(instance, tmp_path):
    """The real program's image, an access token: one job, its exit code, and the runner is gone.

    Neither the job nor a container of it reaches the instance's metadata.
    """

    async def play():
        async with hub(tmp_path) as (world, trusted):
            told = {"environment": {"SSL_CERT_FILE": trusted.where}, "volumes": [trusted.volume]}
            (tmp_path / "here.json").write_text(json.dumps({"services": {"runner": told}}))
            job = world.jobs.add({"steps": [{"run": ASKED}, {"run": "docker version"}]}, 0)
            env = {"SIDECAR_GITHUB_URL": f"{GITHUB}/octo/repo", "SIDECAR_GITHUB_PAT": "ghp_local"}

            def docker(*argv):
                files = (*OWN, "--file", there(tmp_path / "here.json"))
                return instance.engine.docker(*files, *argv, env=env, timeout=TIMEOUT)

            try:
                said = await asyncio.to_thread(docker, "run", "--rm", "--no-TTY", "runner")
                assert there_are(instance.engine)[::2] == ([], [])  # but for its network
            finally:
                await asyncio.to_thread(docker, "down", "--timeout=0")
            assert job.result == "succeeded", f"{said}\n{job.log()}"
            assert "none here\n" in read_output(job)
            assert [each.by for each in world.runners.removed] == ["job-completed"]

    instance.task.far.play(play())
    assert instance.task.asked_of_instance() == []


def test_what_is_missing_is_named(instance):
    """Nothing starts without a place to register, or without a token."""
    for env, missing in [
        ({}, "SIDECAR_GITHUB_URL"),
        ({"SIDECAR_GITHUB_URL": "x"}, "SIDECAR_GITHUB_PAT"),
    ]:
        with pytest.raises(Failed, match=f"required variable {missing} is missing"):
            instance.engine.docker(*OWN, "config", env=env)
        env[missing] = "something"
