"""With a real engine each container has the role of its rule, and no way to another's."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.engines import askers, matrix, places, proxied
from tests.engines.askers import ALL_NOTHING, NOTHING, UNREACHED, WAYS, Askers
from tests.engines.ruled import (
    CHANGED,
    NONE,
    REFUSED,
    RULES,
    SERVICE,
    TRICKS,
    WITH_DB,
    all_have,
    make_askers,
    play_trick,
    take_over,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]


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
        run("up", "--no-color")
        # Who follows a container, as "up" does, may lose its last lines.
        printed = run("logs", "--no-color").splitlines()
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


def test_who_takes_an_address_at_once_never_has_the_role_of_who_had_it(ask: Askers) -> None:
    """Nor by the path of the job's steps, which the relay tells apart by address alone."""
    assert list(take_over(ask, 4)) == [ALL_NOTHING] * 4


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


@pytest.mark.parametrize("trick", [*TRICKS, CHANGED])
def test_no_trick_brings_a_container_told_none_into_another_s_network(
    life: ProxiedLife, ask: Askers, trick: str
) -> None:
    """Agent or engine refuse it, or it has nothing."""
    owner = ask.start("--name=owner", "--label=other")
    try:
        got = play_trick(ask, life.socket, trick)
        assert REFUSED in got or set(got.values()) <= {NOTHING, UNREACHED}
    finally:
        ask.remove(owner)
