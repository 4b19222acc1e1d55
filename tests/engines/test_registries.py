"""Private images of ECR with the job's role, and of other registries beside it, by real programs.

Docker's client asks ECR's credential helper (Debian's package), the engine pulls.
"""

from __future__ import annotations

import base64
import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from local.agent import make_folder
from tests.engines import engine, places, proxied, registries, tasks
from tests.engines.places import Place
from tests.engines.registries import IMAGE, OWN
from tests.engines.test_less import JOB_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.registries import Registries

HELPER = "docker-credential-ecr-login"
ON = {"SIDECAR_ECR_REGISTRIES": ""}
"""As where nothing is set; other tests' lives have it off."""
pytestmark = [
    pytest.mark.docker,
    pytest.mark.root,
    pytest.mark.skipif(shutil.which(HELPER) is None, reason=f"needs {HELPER}"),
]

MINE, HERS = "mine.example.test", "hers.example.test"
"""Registries that the user's configuration knows, and that a step logs in to."""


class Scene(NamedTuple):
    """A task with an engine that finds the registries."""

    place: Place
    registries: Registries
    folder: Path


@pytest.fixture(scope="module", params=places.KINDS)
def scene(request: pytest.FixtureRequest, root: Path) -> Iterator[Scene]:
    """Make a scene with each engine."""
    with make_scene(request.param, root) as scene:
        yield scene


@contextmanager
def make_scene(kind: str, root: Path) -> Iterator[Scene]:
    """Make a scene within the block."""
    hosts = (OWN, MINE, HERS)
    options = [f"--insecure-registry={host}" for host in hosts]  # plain HTTP, as no name is real
    engine_root = Path("/") if kind == places.DEBIAN_12 else root
    with (
        make_folder("registries-") as folder,
        tasks.create() as task,
        engine.start(task.space, engine_root, root, *options) as running,
    ):
        logins = {
            OWN: registries.read_ecr_login(task),
            MINE: ("me", "my word"),
            HERS: ("she", "her word"),
        }
        registries.resolve(running, logins)
        with registries.serving(task, logins, folder) as served:
            yield Scene(Place(kind, task, running), served, folder)


def make_user_configuration(folder: Path) -> Path:
    """Make a user's own DOCKER_CONFIG with a login, a setting of his and a plugin."""
    path = folder / "docker"
    (path / "cli-plugins").mkdir(parents=True)
    (path / "cli-plugins" / "docker-own").write_text("#!/bin/sh\n")
    auth = base64.b64encode(b"me:my word").decode()
    document = {"auths": {MINE: {"auth": auth}}, "detachKeys": "ctrl-x"}
    (path / "config.json").write_text(json.dumps(document))
    for each in (path, path / "config.json"):
        each.chmod(0o755)
    return path


def try_each(scene: Scene, *lines: str) -> str:
    """Return a step that runs each line, and says which of them failed."""
    exports = [f"export {name}={value}" for name, value in scene.registries.variables.items()]
    tried = [
        f"{{ {line}; }} 2>&1 && echo 'good: {at}' || echo 'bad: {at}'"
        for at, line in enumerate(lines)
    ]
    return "\n".join(["unset AWS_ENDPOINT_URL", *exports, *tried])


def read_results(printed: str) -> list[bool]:
    """Return of each line whether it succeeded."""
    lines = [line.partition(": ") for line in printed.splitlines()]
    found = {int(at): word == "good" for word, _, at in lines if word in ("good", "bad")}
    return [found[at] for at in range(len(found))]


def test_private_images_come_with_the_job_s_role(scene: Scene) -> None:
    """Refused without a login, then pulled; a login to a second registry goes on working."""
    given = make_user_configuration(scene.folder / "given")
    before = given.joinpath("config.json").read_bytes()
    user, password = scene.registries.passwords[OWN]
    step = try_each(
        scene,
        f'docker --config "$(mktemp -d)" pull {OWN}/{IMAGE}',
        f"docker pull {OWN}/{IMAGE}",
        f"docker pull {HERS}/{IMAGE}",
        f"echo 'her word' | docker login --username she --password-stdin {HERS}",
        f"docker pull {HERS}/{IMAGE}",
        f"docker pull {MINE}/{IMAGE}",
        f"docker rmi {OWN}/{IMAGE} && docker pull {OWN}/{IMAGE}",
        # A login to the same registry counts while it is there, and is no error.
        f"echo wrong | docker-credential-ecr-login erase && echo {password} |"
        f" docker login --username {user} --password-stdin {OWN}",
        f'printf %s {OWN} | {HELPER} get | grep -q "Secret.*{password}"',
        f"docker logout {OWN} && docker pull {OWN}/{IMAGE}",
        'test "$(cat "$DOCKER_CONFIG/cli-plugins/docker-own")" = "#!/bin/sh"',
        'grep -q ctrl-x "$DOCKER_CONFIG/config.json"',
    )
    with proxied.run_proxied(scene.place, step, DOCKER_CONFIG=str(given), **ON) as life:
        printed = life.running.printed
        (event,) = life.running.life.find_events("docker.registries_added")
        made = life.running.root / ".sidecar-docker"
        assert event["registries"] == [OWN]
        assert life.running.environment["DOCKER_CONFIG"] == str(made) == event["folder"]
    assert read_results(printed) == [False, True, False, *[True] * 9], printed
    assert given.joinpath("config.json").read_bytes() == before
    assert not made.exists()
    assert {host for host, _ in scene.registries.accepted} == {OWN, MINE, HERS}
    keys = set(scene.registries.callers)
    assert {registries.name_role(scene.place.task, key) for key in keys} == {"runner-task"}
    assert password not in life.running.life.text
    assert "her word" not in life.running.life.text


def test_with_a_role_of_the_jobs_it_is_that_role(scene: Scene) -> None:
    """In strict mode, too: what the client sends for the registry passes the proxy."""
    del scene.registries.callers[:]
    step = try_each(scene, f"docker rmi --force {OWN}/{IMAGE}; docker pull {OWN}/{IMAGE}")
    env = {"SIDECAR_JOB_ROLE_ARN": JOB_ROLE, "SIDECAR_DOCKER_STRICT": "true"}
    with proxied.run_proxied(scene.place, step, **env, **ON) as life:
        printed = life.running.printed
    assert read_results(printed) == [True], printed
    keys = set(scene.registries.callers)
    assert {registries.name_role(scene.place.task, key) for key in keys} == {"job"}


def test_without_the_setting_nothing_is_set_up(scene: Scene) -> None:
    """With `off` the pull is refused, as it is without this agent."""
    step = try_each(scene, f"docker pull {OWN}/{IMAGE}")
    with proxied.run_proxied(scene.place, step, SIDECAR_ECR_REGISTRIES="off") as life:
        printed = life.running.printed
        assert "DOCKER_CONFIG" not in life.running.environment
    assert read_results(printed) == [False], printed
    assert "no basic auth credentials" in printed
