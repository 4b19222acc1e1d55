"""With a real engine each container has the role of its rule, and no way to another's."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.adversary.attackers import start_agent
from tests.engines import askers, matrix, places, proxied, wire
from tests.engines.askers import ALL_NOTHING, NOTHING, WAYS, Askers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

JOB, DB, WEB, CACHE = (
    f"arn:aws:iam::{aws.ACCOUNT}:role/{name}" for name in ("job", "db", "web", "cache")
)
RULES = f"""
[[job]]
repository = "octo/repo"
role = "{JOB}"
container_roles = ["{DB}", "{WEB}", "{CACHE}"]

[[container]]
label = "role=none"
role = "none"

[[container]]
service = "db"
role = "{DB}"

[[container]]
service = "web"
role = "{WEB}"

[[container]]
service = "cache"
role = "{CACHE}"

[[container]]
service = "foreign"
role = "none"
"""
NONE = "--label=role=none"
SERVICE = "--label=com.docker.compose.service={}"
WITH_DB = SERVICE.format("db")
DEAF = """
from sidecar.docker import container_listener
container_listener._handle_event = lambda event, handler: None
"""
"""An agent that hears of no event, as any agent does in the moment before it hears of one."""
LENIENT = """
from sidecar.docker import strict_mode
from sidecar.docker.container_create import ContainerCreate
strict_mode.check_start = lambda body: None
ContainerCreate._shares_network = property(lambda self: False)
"""
"""An agent that lets a container of any rule use the task's network."""


def all_have(role: str) -> dict[str, str]:
    """Return what a container gets that has a role by every way."""
    return dict.fromkeys(WAYS, role)


@pytest.fixture(scope="module")
def life(place: Place, root: Path) -> Iterator[ProxiedLife]:
    """Run an agent with rules, whose job waits, for this module's tests."""
    askers.add_image(place.engine, root)
    with proxied.run_proxied(place, SIDECAR_ROLES=RULES) as life:
        yield life


@pytest.fixture
def ask(place: Place, life: ProxiedLife) -> Askers:
    """Return what runs the job's containers."""
    return make_askers(place, life)


def test_a_container_told_none_is_beside_one_with_a_role_and_one_with_the_job_s(
    ask: Askers,
) -> None:
    """Each gets its own by every way, also by the path of the job's steps; all run at once."""
    wanted = {NONE: NOTHING, WITH_DB: "db", SERVICE.format("web"): "web", "--label=other": "job"}
    containers = {option: ask.start(option) for option in wanted}
    got = {option: ask.ask(containers[option]) for option in wanted}
    ask.remove(*containers.values())
    assert got == {option: all_have(role) for option, role in wanted.items()}


def test_compose_with_four_services_and_four_roles(place: Place, ask: Askers) -> None:
    """And a fifth that has none. No file says anything of AWS."""
    wanted = {"app": "job", "db": "db", "web": "web", "cache": "cache", "foreign": NOTHING}
    script = askers.SCRIPT.replace("$", "$$")
    service = {"image": askers.IMAGE, "environment": {"JOB_PATH": ask.job_path}}
    service["command"] = ["sh", "-c", script]
    text = json.dumps({"services": dict.fromkeys(wanted, service)}).encode()
    compose = ("docker-compose",) if place.kind == places.DEBIAN_12 else ("docker", "compose")
    project = (*compose, "--file", "-", "--project-name", f"p{secrets.token_hex(4)}")

    def run(*verb: str) -> str:
        argv = (*project, *verb)
        return ask.engine.run_command(*argv, text=text, timeout=matrix.TIMEOUT)

    try:
        printed = run("up", "--no-color").splitlines()
    finally:
        run("down", "--timeout", "0")
    got = {}
    for name in wanted:
        lines = [line for line in printed if f"{name}_1 " in line or f"{name}-1 " in line]
        got[name] = ask.read("\n".join(lines))
    assert got == {name: all_have(role) for name, role in wanted.items()}


def test_a_container_of_the_same_name_with_another_label_is_judged_anew(ask: Askers) -> None:
    """Docker has no call that changes a label, so what it was created with counts."""
    for option, role in ((WITH_DB, "db"), (NONE, NOTHING), ("--label=x", "job"), (NONE, NOTHING)):
        container = ask.start("--name=same", option)
        assert ask.ask(container) == all_have(role)
        ask.engine.docker("rename", "same", "renamed")
        ask.engine.docker("restart", "--time=0", container)
        assert ask.ask(container) == all_have(role)
        ask.remove(container)


def make_askers(place: Place, life: ProxiedLife) -> Askers:
    """Return what runs the containers of a life's job."""
    return Askers(life.engine, place.task, life.running.environment[matrix.RELATIVE_URI])


def take_over(ask: Askers, rounds: int) -> Iterator[dict[str, str]]:
    """Let a container told none take the address of one with a role; give what it gets."""
    with matrix.create_network(ask.engine, "--subnet=10.77.0.0/28") as network:
        same = (f"--network={network}", "--ip=10.77.0.9")
        for _ in range(rounds):
            first = ask.start(*same, WITH_DB)
            assert ask.ask(first) == all_have("db")
            ask.remove(first)
            yield ask.run(*same, NONE)


def test_who_takes_an_address_at_once_never_has_the_role_of_who_had_it(ask: Askers) -> None:
    """Nor by the path of the job's steps, which the relay tells apart by address alone."""
    assert list(take_over(ask, 4)) == [ALL_NOTHING] * 4


def test_an_agent_that_hears_of_no_event_serves_the_old_role(place: Place, root: Path) -> None:
    """So the test above would notice it."""
    askers.add_image(place.engine, root)
    with proxied.run_proxied(place, argv=start_agent(DEAF), SIDECAR_ROLES=RULES) as life:
        (got,) = take_over(make_askers(place, life), 1)
    assert got == {"own path": NOTHING, "job's path": "db", "address": "db"}


def test_before_the_job_is_known_no_container_has_anything(place: Place, root: Path) -> None:
    """The relay says "not yet"; afterwards a container has nothing that was made before its job.

    One without a rule of its own then has what the job has.
    """
    askers.add_image(place.engine, root)
    early: dict[str, str] = {}
    got: dict[str, dict[str, str]] = {}
    known = {"own path": "503", "job's path": "503", "address": "503"}

    def start(socket: str) -> None:
        ask = Askers(place.engine.with_host(f"unix://{socket}"), place.task, "/v2/credentials/x")
        for option in (NONE, WITH_DB, "--label=other"):
            early[option] = ask.start(option)
            got[option] = ask.ask(early[option])

    with proxied.run_proxied(place, before_job=start, SIDECAR_ROLES=RULES) as life:
        ask = make_askers(place, life)
        assert got == dict.fromkeys(early, known)
        later = {option: ask.ask(container)["own path"] for option, container in early.items()}
        assert later == {NONE: NOTHING, WITH_DB: NOTHING, "--label=other": "job"}
        assert ask.run(WITH_DB) == all_have("db")


@pytest.mark.parametrize("builder", ["0", "1"], ids=["classic", "buildkit"])
def test_a_step_of_a_build_gets_nothing(ask: Askers, builder: str) -> None:
    """Its address is no container's that the agent knows; in the task's own network it is the job.

    A job may do by such a build what its steps may do.
    """
    env = {"DOCKER_BUILDKIT": builder, "BUILDKIT_PROGRESS": "plain"}
    nothing = {way: NOTHING for way in WAYS if way != "own path"}
    assert ask.build(env) == nothing
    assert ask.build(env, "--network=host") == dict.fromkeys(nothing, "job")


def test_who_joins_the_network_of_another_has_what_either_has(ask: Askers) -> None:
    """By its own path its own role, by the common address that of the address."""
    for option, role in ((WITH_DB, "db"), (NONE, NOTHING)):
        owner = ask.start(option)
        joined = f"--network=container:{owner}"
        assert ask.run(joined) == {"own path": "job", "job's path": role, "address": role}
        assert ask.ask(owner) == all_have(role)
        ask.remove(owner)
    assert ask.run("--network=host") == all_have("job")


TRICKS: dict[str, dict[str, object]] = {
    "host": {"HostConfig": {"NetworkMode": "host"}},
    "another's": {"HostConfig": {"NetworkMode": "container:owner"}},
    "outside of HostConfig": {"NetworkMode": "host"},
    "both": {"HostConfig": {"Memory": 0}, "NetworkMode": "host"},
    "connected": {"NetworkingConfig": {"EndpointsConfig": {"host": {}}}},
}
"""Create requests of containers that would have the network of others."""
CHANGED = "changed by the start"


def play_trick(ask: Askers, socket: Path, trick: str, label: str) -> dict[str, str]:
    """Create a container with that label, start it, and have it ask; {}: it was refused."""
    options = TRICKS.get(trick, {})
    body = {
        "Image": askers.IMAGE,
        "Cmd": ["cat"],
        "OpenStdin": True,
        "Labels": {"role": label},
        "Env": [f"JOB_PATH={ask.job_path}"],
        **options,
    }
    made = wire.send(socket, wire.request("POST", "/v1.41/containers/create", body))
    if not made.created:
        return {}
    (container,) = made.created
    try:
        # Up to this version a start may bring another HostConfig.
        version, change = (
            ("v1.21", {"NetworkMode": "host"}) if trick == CHANGED else ("v1.41", None)
        )
        start = wire.request("POST", f"/{version}/containers/{container}/start", change)
        (status,) = wire.send(socket, start).statuses
        return ask.ask(container) if status == 204 else {}
    finally:
        ask.remove(container)


@pytest.mark.parametrize("trick", [*TRICKS, CHANGED])
def test_no_trick_brings_a_container_told_none_into_another_s_network(
    life: ProxiedLife, ask: Askers, trick: str
) -> None:
    """Agent or engine refuse it, or it has nothing."""
    owner = ask.start("--name=owner", "--label=other")
    try:
        assert play_trick(ask, life.socket, trick, "none") in ({}, ALL_NOTHING)
    finally:
        ask.remove(owner)


def test_the_tricks_work_with_an_agent_that_lets_them_pass(place: Place, root: Path) -> None:
    """With the engine of Debian 12 all that it takes; so the test above would notice them."""
    askers.add_image(place.engine, root)
    with proxied.run_proxied(place, argv=start_agent(LENIENT), SIDECAR_ROLES=RULES) as life:
        ask = make_askers(place, life)
        works = {
            trick
            for trick in (*TRICKS, CHANGED)
            if trick != "another's"
            and play_trick(ask, life.socket, trick, "none").get("address") == "job"
        }
    old = {"outside of HostConfig", CHANGED} if place.kind == places.DEBIAN_12 else set()
    assert works == {"host", *old}
