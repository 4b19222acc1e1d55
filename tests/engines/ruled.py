"""Rules for the containers of a job, and what containers try that are told to have nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local import aws
from tests.engines import askers, matrix, wire
from tests.engines.askers import WAYS, Askers
from tests.engines.engine import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

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


def make_askers(place: Place, life: ProxiedLife) -> Askers:
    """Return what runs the containers of a life's job."""
    return Askers(life.engine, place.task, life.running.environment[matrix.RELATIVE_URI])


def take_over(ask: Askers, rounds: int) -> Iterator[dict[str, str]]:
    """Let a container told none take the address of one with a role; give what it gets."""
    with matrix.create_network(ask.engine, "--subnet=10.77.0.0/28") as network:
        same = (f"--network={network}", "--ip=10.77.0.9")
        for _ in range(rounds):
            first = ask.start(*same, WITH_DB)
            ask.ask(first)  # by its own path, which makes its address known without any event
            assert ask.ask(first) == all_have("db")
            ask.remove(first)
            yield ask.run(*same, NONE)


TRICKS: dict[str, dict[str, object]] = {
    "host": {"HostConfig": {"NetworkMode": "host"}},
    "another's": {"HostConfig": {"NetworkMode": "container:owner"}},
    "outside of HostConfig": {"NetworkMode": "host"},
    "both": {"HostConfig": {"Memory": 0}, "NetworkMode": "host"},
    "connected": {"NetworkingConfig": {"EndpointsConfig": {"host": {}}}},
}
"""Create requests of containers that would have the network of others."""
CHANGED = "changed by the start"
REFUSED = "refused"


def play_trick(ask: Askers, socket: Path, trick: str) -> dict[str, str]:
    """Create a container told none, start it, and have it ask.

    What it gets is REFUSED with the response if agent or engine refused it.
    """
    options = TRICKS.get(trick, {})
    body = {
        "Image": askers.IMAGE,
        "Cmd": ["cat"],
        "OpenStdin": True,
        "Labels": {"role": "none"},
        "Env": [f"JOB_PATH={ask.job_path}"],
        **options,
    }
    made = wire.send(socket, wire.request("POST", "/v1.41/containers/create", body))
    if not made.created:
        return {REFUSED: made.text.decode()}
    (container,) = made.created
    try:
        if trick == CHANGED:  # up to this version a start may bring another HostConfig
            path = f"/v1.21/containers/{container}/start"
            started = wire.send(socket, wire.request("POST", path, {"NetworkMode": "host"}))
            if started.statuses != [204]:
                return {REFUSED: started.text.decode()}
        else:
            ask.engine.docker("start", container)
        return ask.ask(container)
    except Failed as error:
        return {REFUSED: str(error)}
    finally:
        ask.remove(container)
