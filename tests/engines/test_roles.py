"""With a real engine each container has the role of its rule, and no way to another's."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.engines import askers, matrix, places, proxied
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
    return Askers(life.engine, place.task, life.running.environment[matrix.RELATIVE_URI])


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
