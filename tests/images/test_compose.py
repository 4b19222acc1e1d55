"""compose.yaml as a person runs it, on a real engine: its story, its end, what it leaves."""

import json

import pytest

from local.compose.job import CONTAINERS
from tests.engines.engine import Failed
from tests.engines.roots import REPOSITORY
from tests.images.building import there
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
    return [engine.docker(kind, "ls", "--quiet", *_all(kind)).split() for kind in kinds]


def _all(kind):
    return ("--all",) if kind == "container" else ()


def test_the_whole_story(instance, told):
    """Token, runner, job, each nested container the task role, nothing left; and exit code 0.

    The machine is an instance with a role of its own, which nobody even asked for.
    """
    before = there_are(instance.engine)
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
    assert instance.task.asked_of_agent() == []
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
