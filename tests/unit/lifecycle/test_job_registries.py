"""A job's configuration of docker's clients: where it is, what is in it, and that it goes."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.aws.task_metadata import TaskFacts
from sidecar.lifecycle.job_registries import add_registries
from sidecar.shutdown.cleanup import CleanupStack

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is set up on Windows")

OWN = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
OTHER = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
FACTS = TaskFacts("arn:aws:ecs:eu-central-1:123456789012:task/cluster/0f3a")


class Scene:
    """A runner's folder, a home and a PATH; `listed` is the setting."""

    def __init__(self, tmp_path):
        self.runner, self.home, self.bin = (tmp_path / name for name in ("runner", "home", "bin"))
        for folder in (self.runner, self.home, self.bin):
            folder.mkdir()
        helper = self.bin / "docker-credential-ecr-login"
        helper.write_text("#!/bin/sh\n")
        helper.chmod(0o755)
        self.env = {"PATH": str(self.bin), "HOME": str(self.home)}
        self.listed = ()
        self.facts = FACTS
        self.cleanup = CleanupStack()

    def add(self):
        """Set up; return the variables, and the one event."""
        settings = SimpleNamespace(ecr_registries=self.listed, runner_dir=self.runner)
        config = SimpleNamespace(settings=settings, user=None)
        with capture_logs() as events:
            variables = asyncio.run(add_registries(config, self.facts, self.env, self.cleanup))
        return variables, events

    def remove(self):
        """Run the cleanup steps."""

        async def run():
            await asyncio.gather(*(step.begin() for step in self.cleanup.steps))

        asyncio.run(run())
        assert [step.error for step in self.cleanup.steps] == [None] * len(self.cleanup.steps)


@pytest.fixture
def scene(tmp_path):
    """Return a scene with the helper installed and no configuration of a user's."""
    return Scene(tmp_path)


def read(variables):
    """Return the configuration that docker's clients get."""
    path = Path(variables["DOCKER_CONFIG"], "config.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return json.loads(path.read_text())


def test_the_task_s_own_registry_and_those_of_the_setting(scene):
    """Both get ECR's helper; the program that is found first is the agent's script."""
    scene.listed = (OTHER, OWN)
    variables, (event,) = scene.add()
    assert read(variables) == {"credHelpers": {OWN: "ecr-login", OTHER: "ecr-login"}}
    assert event["event"] == "docker.registries_added"
    assert event["registries"] == [OWN, OTHER]
    first, _, rest = variables["PATH"].partition(os.pathsep)
    assert rest == scene.env["PATH"]
    (program,) = Path(first).iterdir()
    assert program.name == "docker-credential-ecr-login"
    assert f"helper={scene.bin}/docker-credential-ecr-login" in program.read_text()


def test_all_of_it_goes_with_the_life(scene):
    """A step may have put there what it wants."""
    variables, _ = scene.add()
    Path(variables["DOCKER_CONFIG"], "sidecar-ecr", "log").mkdir(parents=True)
    scene.remove()
    assert list(scene.runner.iterdir()) == list(scene.home.iterdir()) == []


def test_a_user_s_own_folder_is_merged_and_not_touched(scene, tmp_path):
    """DOCKER_CONFIG: its logins are taken over, its plugins and contexts are linked."""
    given = tmp_path / "given"
    (given / "cli-plugins").mkdir(parents=True)
    text = json.dumps({"auths": {"ghcr.io": {"auth": "eDp5"}}})
    (given / "config.json").write_text(text)
    scene.env["DOCKER_CONFIG"] = str(given)
    variables, _ = scene.add()
    assert variables["DOCKER_CONFIG"] != str(given)
    assert read(variables) == {**json.loads(text), "credHelpers": {OWN: "ecr-login"}}
    plugins = Path(variables["DOCKER_CONFIG"], "cli-plugins")
    assert plugins.readlink() == given / "cli-plugins"
    scene.remove()
    assert (given / "cli-plugins").is_dir()
    assert (given / "config.json").read_text() == text


def test_the_usual_folder_is_merged_too(scene):
    """`~/.docker` of a home that is not the runner's folder."""
    (scene.home / ".docker").mkdir()
    (scene.home / ".docker" / "config.json").write_text('{"credsStore": "pass"}')
    variables, _ = scene.add()
    assert variables["DOCKER_CONFIG"] == str(scene.runner / ".sidecar-docker")
    assert read(variables)["credsStore"] == "pass"


def test_where_the_usual_folder_is_free_it_is_that(scene):
    """As in the image: steps that go to `~/.docker` by themselves find the same files."""
    scene.env["HOME"] = str(scene.runner)
    variables, _ = scene.add()
    assert variables["DOCKER_CONFIG"] == str(scene.runner / ".docker")
    # A killed agent leaves it: the next one makes it anew, without what a job stored in it.
    (scene.runner / ".docker" / "config.json").write_text('{"auths": {"ghcr.io": {}}}')
    again, _ = scene.add()
    assert again == variables
    assert read(again) == {"credHelpers": {OWN: "ecr-login"}}
    scene.remove()
    assert list(scene.runner.iterdir()) == []


def test_an_image_s_own_usual_folder_stays_as_it_is(scene):
    """It is merged into a folder beside it."""
    scene.env["HOME"] = str(scene.runner)
    (scene.runner / ".docker").mkdir()
    variables, _ = scene.add()
    assert variables["DOCKER_CONFIG"] == str(scene.runner / ".sidecar-docker")
    scene.remove()
    assert [path.name for path in scene.runner.iterdir()] == [".docker"]


def skip(scene):
    """Set up where it is not possible: no variable, nothing on the disk; return the event."""
    before = sorted(scene.runner.iterdir())
    variables, (event,) = scene.add()
    assert variables == {}
    assert sorted(scene.runner.iterdir()) == before
    assert event["event"] == "docker.registries_skipped"
    return event


def test_without_the_helper_nothing_is_done(scene):
    """It is a warning only if somebody asked for a registry by name."""
    scene.bin.joinpath("docker-credential-ecr-login").unlink()
    assert skip(scene)["log_level"] == "info"
    scene.listed = (OTHER,)
    event = skip(scene)
    assert event["log_level"] == "warning"
    assert "amazon-ecr-credential-helper" in event["reason"]


def test_where_the_account_is_not_known_nothing_is_done(scene):
    """Outside ECS, say; the setting's registries are set up all the same."""
    scene.facts = TaskFacts()
    assert "account" in skip(scene)["reason"]
    scene.listed = (OTHER,)
    assert read(scene.add()[0]) == {"credHelpers": {OTHER: "ecr-login"}}


@pytest.mark.parametrize("content", ["{", json.dumps({"auths": {OWN: {}}})])
def test_a_user_s_file_that_needs_nothing_or_is_broken_is_left_alone(scene, content):
    """Docker's clients read it as before."""
    (scene.home / ".docker").mkdir()
    (scene.home / ".docker" / "config.json").write_text(content)
    assert str(scene.home / ".docker") in skip(scene)["reason"]


def test_off_does_nothing_and_says_nothing(scene):
    """A user who sets it needs no line about it."""
    scene.listed = None
    assert scene.add() == ({}, [])


def test_a_folder_that_cannot_be_written_ends_nothing(scene):
    """The job goes on without."""
    scene.runner.rmdir()
    scene.runner.write_text("a file")
    variables, (event,) = scene.add()
    assert variables == {}
    assert "cannot add to docker's configuration" in event["reason"]
