"""Reports of people who run such runners, tried with a real engine: variables and images.

Where each case comes from is in tests/cases/README.md.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.engines import matrix, table
from tests.engines.engine import EMPTY, USERLAND, Engine
from tests.engines.matrix import RELATIVE_URI
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

PROGRAMS = f"--volume=/host{REPOSITORY}/tests/engines:/programs:ro"
WAIT = ("sleep", "600")


def ask_boto3(place: Place, docker: Engine, *options: str, image: str = EMPTY) -> str | None:
    """Return the role that boto3 gets in a container with these options."""
    argv = ("python3", "/programs/everyone.py", place.task.aws, place.task.s3, "boto3")
    output = docker.docker_run(*USERLAND, PROGRAMS, *options, image, *argv, timeout=matrix.TIMEOUT)
    (found,) = re.findall(r"FOUND (\{.*\})", output)
    role: str | None = json.loads(found)["role"]
    return role


def read_environment(docker: Engine, *options: str, image: str = EMPTY) -> dict[str, str]:
    """Return the AWS variables that a process of such a container has."""
    output = docker.docker_run(*USERLAND, *options, image, "env")
    return dict(re.findall(r"^(AWS_\w+)=(.*)$", output, re.MULTILINE))


# --- names without values -------------------------------------------------------------------------


NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")
CONTAINER_NAMES = (
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    RELATIVE_URI,
)


@pytest.mark.parametrize("form", ["--env={}", "--env={}="], ids=["bare", "empty"])
@pytest.mark.parametrize("names", [NAMES, CONTAINER_NAMES], ids=["keys", "container"])
def test_names_without_values_bring_nothing(
    place: Place, proxied_life: ProxiedLife, names: tuple[str, ...], form: str
) -> None:
    """The container has the role and the region of every other one."""
    options = [form.format(name) for name in names]
    assert ask_boto3(place, proxied_life.engine, *options) == table.ROLE
    environment = read_environment(proxied_life.engine, *options)
    assert environment["AWS_REGION"] == aws.REGION


# --- a configuration of its own -------------------------------------------------------------------


CONFIGURATION = "[profile own]\nregion = ap-south-1\n[default]\nregion = ap-south-1\n"
PRINT_REGION = "import boto3; print('region', boto3.Session().region_name)"


@pytest.mark.parametrize(
    "options",
    [
        ("--env=HOME=/home/app", "--volume={}:/home/app/.aws:ro"),
        ("--env=AWS_CONFIG_FILE=/aws/config", "--volume={}:/aws:ro"),
        ("--env=AWS_PROFILE=own", "--env=AWS_CONFIG_FILE=/aws/config", "--volume={}:/aws:ro"),
    ],
    ids=["mounted", "named file", "profile"],
)
def test_a_container_s_own_region_wins(
    place: Place, proxied_life: ProxiedLife, options: tuple[str, ...]
) -> None:
    """SDKs would take the proxy's region before that of the file. The role is the container's."""
    folder = proxied_life.shared / "aws"
    folder.mkdir(exist_ok=True)
    try:
        (folder / "config").write_text(CONFIGURATION)
        given = [option.format(folder) for option in options]
        argv = ("env", "PYTHONPATH=/opt/clients/python", "python3", "-c", PRINT_REGION)
        output = proxied_life.engine.docker_run(*USERLAND, *given, EMPTY, *argv)
        assert output.split() == ["region", "ap-south-1"]
        environment = read_environment(proxied_life.engine, *given)
        assert "AWS_EC2_METADATA_DISABLED" not in environment
        assert ask_boto3(place, proxied_life.engine, *given) == table.ROLE
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "own",
    [
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"},
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://192.0.2.1/"},
    ],
    ids=["web identity", "mock of the metadata"],
)
def test_credentials_of_another_kind_are_left_alone(
    proxied_life: ProxiedLife, own: Mapping[str, str]
) -> None:
    """Nothing is added that an SDK could ask before them."""
    options = [f"--env={name}={value}" for name, value in own.items()]
    assert read_environment(proxied_life.engine, *options) == own


# --- images of containers -------------------------------------------------------------------------


DANGLING = ("images", "--quiet", "--filter", "dangling=true")


def read_image(docker: Engine, image: str) -> dict[str, object]:
    """Return the configuration of an image."""
    described = json.loads(docker.docker("image", "inspect", image))[0]
    config: dict[str, object] = described["Config"]
    return config


@pytest.fixture
def base(place: Place) -> Iterator[str]:
    """Return an image of a container that knew no agent, whose configuration the others get too."""
    name = f"base-{secrets.token_hex(4)}"
    dockerfile = f"FROM {EMPTY}\nENV KEPT=1 NO_PROXY=a\nLABEL x=y\n".encode()
    place.engine.docker("build", "--tag", name, "-", text=dockerfile)
    yield name
    place.engine.docker("rmi", "--force", name)


def commit(docker: Engine, *options: str, image: str) -> dict[str, object]:
    """Start a container, change a file in it and commit it; return the image's configuration.

    The image is called as the container, and stays.
    """
    name = f"mine-{secrets.token_hex(4)}"
    docker.docker("run", "--detach", "--name", name, *USERLAND, *options, image, *WAIT)
    try:
        docker.docker("exec", name, "sh", "-c", "echo changed >/changed")
        docker.docker("commit", "--change", "ENV CHANGED=1", "--message", "mine", name, name)
        return {"name": name, **read_image(docker, name)}
    finally:
        docker.docker("rm", "--force", name)


@pytest.mark.parametrize("options", [(), ("--env=HTTPS_PROXY=http://192.0.2.1:1",)])
def test_a_committed_image_is_as_if_there_were_no_agent(
    place: Place, proxied_life: ProxiedLife, base: str, options: tuple[str, ...]
) -> None:
    """Its configuration equals that of an image without one, and containers of it get the role."""
    docker = proxied_life.engine
    dangling = docker.docker(*DANGLING)
    with_agent, without = (
        commit(docker, *options, image=base),
        commit(place.engine, *options, image=base),
    )
    name, other = str(with_agent.pop("name")), str(without.pop("name"))
    try:
        for config in (with_agent, without):
            config.pop("Hostname", None)
            config["Env"] = sorted(config["Env"])
        assert with_agent == without
        whole = docker.docker("image", "inspect", name)
        assert "/v2/credentials/" not in whole
        history = docker.docker("history", "--no-trunc", "--format", "{{.Comment}}", name)
        assert "mine" in history
        assert docker.docker_run(*USERLAND, name, "cat", "/changed") == "changed\n"
        assert ask_boto3(place, docker, image=name) == table.ROLE
        assert docker.docker(*DANGLING) == dangling
    finally:
        docker.docker("rmi", "--force", name, other)


@pytest.mark.parametrize("buildkit", ["0", "1"], ids=["classic builder", "BuildKit"])
def test_a_build_from_a_committed_image_knows_no_variables(
    proxied_life: ProxiedLife, base: str, buildkit: str
) -> None:
    """An empty path in them would keep an SDK from the role that the metadata address has."""
    docker, built = proxied_life.engine, f"built-{secrets.token_hex(4)}"
    name = str(commit(docker, image=base)["name"])
    dockerfile = f"FROM {name}\nENV AFTER=1\n".encode()
    try:
        docker.docker(
            "build", "--tag", built, "-", text=dockerfile, env={"DOCKER_BUILDKIT": buildkit}
        )
        env = read_image(docker, built)["Env"]
        assert "AFTER=1" in env
        assert not [entry for entry in env if entry.startswith("AWS_")]
    finally:
        docker.docker("rmi", "--force", built, name)


def test_an_exported_container_has_no_variables(proxied_life: ProxiedLife) -> None:
    """They are in no file of it."""
    docker = proxied_life.engine
    name = f"mine-{secrets.token_hex(4)}"
    container = docker.docker("create", "--name", name, *USERLAND, EMPTY, *WAIT).strip()
    try:
        env = docker.docker("inspect", "--format", "{{json .Config.Env}}", container)
        path = re.search(RELATIVE_URI + r"=([^\"]+)", env)
        assert path is not None
        script = f"docker export {container} | grep --count {shlex.quote(path[1])} || true"
        docker_host = f"DOCKER_HOST={docker.host}"
        assert docker.run_command("env", docker_host, "sh", "-c", script) == "0\n"
    finally:
        docker.docker("rm", "--force", name)


def test_a_copy_of_a_container_has_the_role(place: Place, proxied_life: ProxiedLife) -> None:
    """Tools that make a container anew take its variables, and with them another one's path."""
    first = read_environment(proxied_life.engine)
    copied = [f"--env={name}={value}" for name, value in first.items()]
    docker = proxied_life.engine
    name = f"mine-{secrets.token_hex(4)}"
    docker.docker("run", "--detach", "--name", name, *USERLAND, EMPTY, *WAIT)
    try:
        line = docker.docker("exec", name, "printenv", RELATIVE_URI).strip()
        copied = [one for one in copied if RELATIVE_URI not in one]
        copied.append(f"--env={RELATIVE_URI}={line}")
        assert ask_boto3(place, docker, *copied) == table.ROLE
        assert read_environment(docker, *copied)[RELATIVE_URI] != line
    finally:
        docker.docker("rm", "--force", name)
