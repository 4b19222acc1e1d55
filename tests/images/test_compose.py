"""Run compose.yaml on a real engine, as a person does: its story, its end, what is left."""

import asyncio
import json

import pytest

from local.compose.job import CONTAINERS
from tests.engines.engine import Failed
from tests.engines.roots import REPOSITORY
from tests.images.building import there
from tests.images.hubs import GITHUB, serve_github
from tests.lives.stage import read_output
from tests.local.test_demo import in_order

pytestmark = [pytest.mark.docker, pytest.mark.root]

COMPOSE = ("compose", "--file", there(REPOSITORY / "compose.yaml"), "--project-name", "story")
TIMEOUT = 300.0


@pytest.fixture
def run_story(instance):
    """Return what runs the story: its exit code is 0, or the failure has its output.

    Who follows a container, as "up" does, may lose its last lines: they are read afterwards.
    """

    def up(*files, **env):
        compose = (*COMPOSE, *files)
        ended = ("up", "--no-build", "--exit-code-from", "stand-ins")
        failed, said = None, ""
        try:
            said = instance.engine.docker(*compose, *ended, env=env, timeout=TIMEOUT)
        except Failed as error:
            failed, said = error, str(error)
        logs = ("logs", "--no-color", "stand-ins")
        said = "\n".join((said, instance.engine.docker(*compose, *logs, env=env)))
        if failed is not None:
            raise Failed(said) from failed
        return said

    yield up
    instance.engine.docker(*COMPOSE, "down", "--volumes", "--timeout=0")


def inspect_runner(engine):
    """Return what the engine knows about the runner's container."""
    name = engine.docker(*COMPOSE, "ps", "--all", "--quiet", "runner").strip()
    return json.loads(engine.docker("inspect", name))[0]


def list_objects(engine):
    """List all containers, networks and volumes."""
    kinds = ("container", "network", "volume")
    return tuple(
        engine.docker(kind, "ls", "--quiet", *_list_options(kind)).split() for kind in kinds
    )


def _list_options(kind):
    return ("--all",) if kind == "container" else ()


def test_the_whole_story(instance, run_story):
    """Each nested container has the task role, nothing is left, and the exit code is 0.

    The machine is an instance with a role of its own, which is never asked for.
    """
    before, asked = list_objects(instance.engine), instance.task.agent_requests()
    lines = run_story().splitlines()
    role = "prints: I am arn:aws:sts::123456789012:assumed-role/runner-task/"
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
    assert inspect_runner(instance.engine)["State"]["ExitCode"] == 0
    assert instance.task.instance_requests() == []
    assert instance.task.agent_requests() == asked
    instance.engine.docker(*COMPOSE, "down", "--volumes", "--timeout=0")
    assert list_objects(instance.engine) == before


def test_a_job_that_fails(instance, run_story):
    """A failing job is the exit code, its output is shown; token and runner are gone as well."""
    with pytest.raises(Failed) as failed:
        run_story(FAIL="1")
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


def test_a_task_that_ends_before_its_job(instance, run_story, tmp_path):
    """A wrong setting ends the task at once: the story ends, too, and shows what is left."""
    settings = {"SIDECAR_GITHUB_URL": "http://stand-ins/octo/demo"}
    mistaken = {"services": {"runner": {"environment": settings}}}
    (tmp_path / "mistaken.json").write_text(json.dumps(mistaken))
    with pytest.raises(Failed) as failed:
        run_story("--file", there(tmp_path / "mistaken.json"))
    assert "compose: failed: the job's result: queued" in str(failed.value)
    assert inspect_runner(instance.engine)["State"]["ExitCode"] == 11


# --- a repository of one's own --------------------------------------------------------------------

OWN = ("compose", "--file", there(REPOSITORY / "compose.own.yaml"))
ASKED = "curl --silent --output /dev/null --max-time 2 http://169.254.169.254/ || echo none here"


def test_a_repository_of_one_s_own(instance, tmp_path):
    """With an access token one job runs, and the runner is gone afterwards.

    Neither the job nor its containers reach the instance's metadata.
    """

    async def play():
        async with serve_github(tmp_path) as (world, trusted):
            service = {"environment": {"SSL_CERT_FILE": trusted.where}, "volumes": [trusted.volume]}
            (tmp_path / "here.json").write_text(json.dumps({"services": {"runner": service}}))
            job = world.jobs.add({"steps": [{"run": ASKED}, {"run": "docker version"}]}, 0)
            env = {"SIDECAR_GITHUB_URL": f"{GITHUB}/octo/repo", "SIDECAR_GITHUB_PAT": "ghp_local"}

            def docker(*argv):
                files = (*OWN, "--file", there(tmp_path / "here.json"))
                return instance.engine.docker(*files, *argv, env=env, timeout=TIMEOUT)

            try:
                output = await asyncio.to_thread(docker, "run", "--rm", "--no-TTY", "runner")
                assert list_objects(instance.engine)[::2] == ([], [])  # except for its network
            finally:
                await asyncio.to_thread(docker, "down", "--timeout=0")
            assert job.result == "succeeded", f"{output}\n{job.log()}"
            assert "none here\n" in read_output(job)
            assert [each.by for each in world.runners.removed] == ["job-completed"]

    instance.task.far.play(play())
    assert instance.task.instance_requests() == []


REQUIRED = {"SIDECAR_GITHUB_URL": "https://github.com/octo/repo", "SIDECAR_GITHUB_PAT": "ghp_local"}


@pytest.mark.parametrize("missing", REQUIRED)
def test_what_is_missing_is_named(instance, missing):
    """Nothing starts without a URL to register with, or without a token.

    Compose names one missing variable only, and looks at them in random order (that of a map in
    Go). So each of them is the only one that is missing here.
    """
    env = {name: value for name, value in REQUIRED.items() if name != missing}
    with pytest.raises(Failed, match=f"required variable {missing} is missing"):
        instance.engine.docker(*OWN, "config", env=env)
    assert "SIDECAR_GITHUB_URL" in instance.engine.docker(*OWN, "config", env=REQUIRED)
