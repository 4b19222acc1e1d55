"""A job with docker reads, enters and shares no container that it did not make.

On an instance, all tasks' containers are at the same engine, and what one of them is given (the
path of its credentials, for one) stands in its configuration.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from sidecar.docker import own_containers, strict_mode
from sidecar.docker.heads import parse_request
from sidecar.docker.own_containers import OwnContainers
from tests.adversary.engine_requests import find_refusal, make_strict
from tests.unit.docker.fakes import CREATED, ID

FOREIGN = "f" * 64
CREATE = "POST /v1.41/containers/create"


def make_policy():
    """Return a strict policy that knows the job's containers."""
    policy = make_strict()
    policy.own = OwnContainers()
    return policy


def play(policy, line, status, answer=b"", body=b"{}"):
    """Send a request, and give it this response."""
    request = parse_request(f"{line} HTTP/1.1\r\n\r\n".encode())
    assert policy.body_limit(request) is not None
    asyncio.run(policy.check(request, body)).handle_response(status, answer)


def make_own(policy, name="mine"):
    """Make a container of the job's."""
    play(policy, f"{CREATE}?name={name}", 201, CREATED)


@pytest.mark.parametrize("name", ["ecs-agent", FOREIGN, FOREIGN[:12], "f", "cc", ID[:11]])
@pytest.mark.parametrize(
    "line",
    [
        *("GET /containers/{}/json", "GET /containers/{}/archive?path=/", "GET /containers/{}/top"),
        *("PUT /containers/{}/archive?path=/", "POST /containers/{}/exec", "DELETE /containers/{}"),
        *("POST /containers/{}/start", "POST /containers/{}/attach", "GET /containers/{}/export"),
        *("POST /containers/{}/rename?name=mine", "POST /commit?container={}&repo=x"),
        *("HEAD /v1.41/containers/{}/archive?path=/", "GET /libpod/containers/{}/json"),
    ],
)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_requests_for_another_s_container_are_refused(mended, line, name):
    """By a name, an id and the beginning of an id, which may be another's next."""
    policy = make_policy()
    make_own(policy)
    if not mended:
        policy.own = None
    assert (find_refusal(policy, line.format(name), {}) is not None) is mended


@pytest.mark.parametrize(
    "host_config",
    [
        {"VolumesFrom": ["ecs-agent:ro"]},
        {"VolumesFrom": ["mine", FOREIGN]},
        {"NetworkMode": "container:ecs-agent"},
        {"PidMode": f"container:{FOREIGN}"},
        {"IpcMode": "container:"},
        {"Links": ["/ecs-agent:db"]},
    ],
)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_container_shares_nothing_with_another_s(mended, host_config):
    """Volumes, namespaces and variables: the ECS agent's container has the machine's."""
    policy = make_policy()
    make_own(policy)
    if not mended:
        policy.own = None
    refused = find_refusal(policy, CREATE, {"HostConfig": host_config})
    assert (refused is not None) is mended


def test_the_job_s_own_containers_are_used():
    """By the names that it gave, and by the ids that it got, whole or as docker shows them."""
    policy = make_policy()
    make_own(policy)
    for name in ("mine", ID, ID[:12]):
        for line in ("GET /containers/{}/json", "POST /containers/{}/start", "DELETE /volumes/x"):
            assert find_refusal(policy, line.format(name), b"") is None
        body = {"HostConfig": {"VolumesFrom": [f"{name}:ro"], "NetworkMode": f"container:{name}"}}
        assert find_refusal(policy, CREATE, body) is None
    for line in ("GET /containers/json?all=1", "POST /containers/prune"):
        assert find_refusal(policy, line) is None


def test_a_name_counts_only_if_the_engine_has_given_it():
    """A job may ask for the name of another's container: the engine refuses that."""
    policy = make_policy()
    play(policy, f"{CREATE}?name=ecs-agent", 409, b'{"message":"in use"}')
    assert find_refusal(policy, "GET /containers/ecs-agent/json")
    make_own(policy)
    play(policy, "POST /containers/mine/rename?name=ecs-agent", 409)
    assert find_refusal(policy, "GET /containers/ecs-agent/json")
    play(policy, "POST /containers/mine/rename?name=other", 204)
    assert find_refusal(policy, "GET /containers/other/json") is None
    play(policy, "DELETE /containers/other", 409, body=b"")
    assert find_refusal(policy, "GET /containers/other/json") is None
    play(policy, "DELETE /containers/other", 204, body=b"")
    assert find_refusal(policy, "GET /containers/other/json")


EXEC = "e" * 64


@pytest.mark.parametrize(
    "line", ["POST /exec/{}/start", "GET /v1.41/exec/{}/json", "POST /exec/{}/resize?h=1&w=1"]
)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_command_of_another_s_is_not_started(mended, line):
    """The engine's events tell its id before it runs, and who starts it writes its input."""
    policy = make_policy()
    make_own(policy)
    if not mended:
        policy.own = None
    assert (find_refusal(policy, line.format(EXEC)) is not None) is mended
    create = "POST /containers/mine/exec"
    play(policy, create, 404, json.dumps({"Id": EXEC}).encode())
    assert (find_refusal(policy, line.format(EXEC)) is not None) is mended
    play(policy, create, 201, json.dumps({"Id": EXEC}).encode())
    assert find_refusal(policy, line.format(EXEC)) is None


def test_only_the_newest_commands_are_remembered(monkeypatch):
    """A job cannot fill the agent's memory with them."""
    monkeypatch.setattr(own_containers, "_MOST_EXECS", 2)
    policy = make_policy()
    make_own(policy)
    for letter in "abc":
        answer = json.dumps({"Id": letter * 64}).encode()
        play(policy, "POST /containers/mine/exec", 201, answer)
    lines = [f"POST /exec/{letter * 64}/start" for letter in "abc"]
    assert [find_refusal(policy, line) is None for line in lines] == [False, True, True]


def test_another_s_container_joins_no_network_of_the_job():
    """It would be reached there."""
    policy = make_policy()
    make_own(policy)
    line = "POST /networks/n/connect"
    assert find_refusal(policy, line, {"Container": "ecs-agent"})
    assert find_refusal(policy, line, json.dumps({"Container": "mine"}).encode()) is None


FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("query", "headers"), [("?name=ecs-agent", (FORM,)), ("?x;name=y&name=ecs-agent", ())]
)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_name_is_read_where_the_engine_reads_it(mended, query, headers, monkeypatch):
    """The engine takes a form's fields before those of the query, and an old one splits at `;`."""
    if not mended:
        monkeypatch.setattr(strict_mode, "_check_reading", lambda _request: None)
    policy = make_policy()
    make_own(policy)
    line = f"POST /containers/mine/rename{query}"
    assert (find_refusal(policy, line, b"name=other", *headers) is not None) is mended
