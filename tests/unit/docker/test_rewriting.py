"""The request policy decides which requests are checked, and keeps track of minted paths."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from sidecar.docker import committed_image, rewriting, warning_limit
from sidecar.docker.binds import Sockets
from sidecar.docker.connection import RequestAnswered, RequestRefused
from sidecar.docker.created import ObjectRecord, read_objects
from sidecar.docker.credential_variables import CredentialVariables
from sidecar.docker.engine import EngineError, NotFound, Refused
from sidecar.docker.heads import parse_request
from sidecar.docker.json_documents import UnreadableBody
from sidecar.docker.own_configuration import RELATIVE_URI
from sidecar.docker.rewriting import RequestRewriter
from tests.unit.docker.fakes import CREATED, ID, FakePaths

CREATE = parse_request(b"POST /v1.41/containers/create HTTP/1.1\r\n\r\n")


def make_policy(paths: FakePaths, *, strict: bool = False) -> RequestRewriter:
    """Return a policy that adds variables with the paths of `paths`."""

    async def read_image_variables(_: str) -> list[str]:
        return []

    sockets = Sockets.from_paths("/shared/docker.sock", "/run/docker.sock")
    variables = CredentialVariables("eu-central-1", paths.mint)
    return RequestRewriter(sockets, variables, paths, read_image_variables, strict=strict)


def make_recording(tmp_path, answers=None, paths=None):
    """Return a policy that records, in front of an engine with these answers, and the record."""
    record = ObjectRecord(tmp_path / "created")

    async def ask(path):
        if path not in (answers or {}):
            raise NotFound(path)
        return answers[path]

    policy = make_policy(paths or FakePaths())
    policy.record, policy.ask_engine = record, ask
    return policy, record


def play(policy, path: str, body: bytes, answer: bytes, status: int = 201):
    """Check a request, and give it this response; return what the engine got."""
    request = parse_request(f"POST /v1.41{path} HTTP/1.1\r\n\r\n".encode())
    assert policy.body_limit(request) is not None
    checked = asyncio.run(policy.check(request, body))
    checked.handle_response(status, answer)
    return checked.body


def test_what_is_created_is_recorded_before_its_client_knows(tmp_path):
    """The container, the volumes that it made, a network and a volume of its own."""
    known = {"/volumes/foreign": {"Name": "foreign"}}
    policy, record = make_recording(tmp_path, known)
    mounts = [
        {"Type": "volume", "Source": "mounted"},
        {"Type": "bind", "Source": "/x"},
        {"Type": "volume"},
    ]
    config = {"Binds": ["made:/a", "foreign:/b:ro", "/host:/c", "/anonymous"], "Mounts": mounts}
    play(policy, "/containers/create", json.dumps({"HostConfig": config}).encode(), CREATED)
    play(policy, "/networks/create", b'{"Name":"n"}', b'{"Id":"%s"}' % (b"d" * 64))
    play(policy, "/volumes/create", b'{"Name":"own"}', b'{"Name":"own"}')
    play(policy, "/volumes/create", b"", b'{"Name":"%s"}' % (b"e" * 64))
    play(policy, "/volumes/create", b'{"Name":"foreign"}', b'{"Name":"foreign"}')
    play(policy, "/networks/create", b"{}", b'{"message":"exists"}', 409)
    expected = {("container", ID), ("network", "d" * 64), ("volume", "e" * 64)}
    expected |= {("volume", name) for name in ("made", "mounted", "own")}
    assert {(one.kind, one.id) for one in record.objects} == expected
    assert {(one.kind, one.id) for one in read_objects(tmp_path / "created")} == expected


@pytest.mark.parametrize(
    "body",
    [
        {"Env": ["AWS_ACCESS_KEY_ID=x"], "HostConfig": {"Binds": ["made:/a"]}},
        {"Env": ["AWS_PROFILE=x"], "Binds": ["made:/a"]},
        {"Mounts": [{"Type": "volume", "Source": "made", "Target": "/a"}]},
    ],
    ids=["own credentials", "old form", "old form of mounts"],
)
def test_a_container_is_recorded_whatever_it_brings(tmp_path, body):
    """Also one with credentials of its own, and volumes where docker 20.10 alone reads them."""
    policy, record = make_recording(tmp_path)
    play(policy, "/containers/create", json.dumps(body).encode(), CREATED)
    kinds = {(one.kind, one.id) for one in record.objects}
    assert kinds == {("container", ID), ("volume", "made")}


ANONYMOUS, FOREIGN = "a" * 64, "f" * 64
INSPECTED = {
    "Id": ID,
    "Created": "2026-05-04T03:02:01.123456789Z",
    "HostConfig": {"Binds": [f"{FOREIGN}:/foreign"]},
    "Mounts": [
        {"Type": "volume", "Name": ANONYMOUS, "Destination": "/data"},
        {"Type": "volume", "Name": FOREIGN, "Destination": "/foreign"},
        {"Type": "volume", "Name": "named", "Destination": "/named"},
        {"Type": "bind", "Source": "/x", "Destination": "/x"},
    ],
}


def remove(policy, query: str = "") -> bool:
    """Remove the container; return whether the proxy looked at the request."""
    line = f"DELETE /v1.41/containers/mine{query} HTTP/1.1\r\n\r\n"
    request = parse_request(line.encode())
    if policy.body_limit(request) is None:
        return False
    checked = asyncio.run(policy.check(request, b""))
    assert checked.body == b""
    checked.handle_response(204, b"")
    return True


def test_anonymous_volumes_that_outlive_their_container_are_recorded(tmp_path):
    """The runner removes its containers without them, and so do compose and `docker rm`."""
    policy, record = make_recording(tmp_path, {"/containers/mine/json": INSPECTED})
    record.add("container", ID)
    assert remove(policy, "?force=1")
    (volume,) = [one for one in record.objects if one.kind == "volume"]
    made = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    assert (volume.id, volume.since) == (ANONYMOUS, made.timestamp())
    assert not remove(policy, "?force=1&v=1")


@pytest.mark.parametrize(
    ("inspected", "own"),
    [
        (INSPECTED, False),
        (None, True),
        ({**INSPECTED, "Created": "?"}, True),
        ({**INSPECTED, "Mounts": None}, True),
        ([], True),
    ],
    ids=["another's", "unknown", "no time", "no mounts", "no object"],
)
def test_other_volumes_are_not_recorded(tmp_path, inspected, own):
    """Not those of another task's container, and none of which nobody tells anything."""
    answers = {} if inspected is None else {"/containers/mine/json": inspected}
    policy, record = make_recording(tmp_path, answers)
    if own:
        record.add("container", ID)
    assert remove(policy)
    assert not [one for one in record.objects if one.kind == "volume"]


def test_after_the_job_nothing_more_is_created(tmp_path):
    """A container of the job still has the proxy's socket while it is being removed."""
    policy, record = make_recording(tmp_path)
    record.closed = True
    for request in (CREATE, parse_request(b"POST /networks/create HTTP/1.1\r\n\r\n")):
        with pytest.raises(RequestRefused, match="the job is over"):
            asyncio.run(policy.check(request, b"{}"))


def test_a_create_request_in_progress_is_awaited(tmp_path):
    """Also one whose response never comes."""

    async def scenario():
        policy, record = make_recording(tmp_path)
        one, other = [await policy.check(CREATE, b"{}") for _ in range(2)]
        waiting = asyncio.create_task(record.wait_for_responses())
        one.handle_response(201, CREATED)
        await asyncio.sleep(0)
        assert not waiting.done()
        other.handle_no_response()
        await asyncio.wait_for(waiting, 10)

    asyncio.run(scenario())


def test_a_build_records_the_runner_s_label(tmp_path):
    """Its images are named so. Before the runner is registered there is no label."""
    policy, record = make_recording(tmp_path)
    for path in ("/build?t=x", "/session", "/grpc"):
        policy.body_limit(parse_request(f"POST {path} HTTP/1.1\r\n\r\n".encode()))
    assert record.objects == []
    record.set_label("0123ab")
    policy.body_limit(parse_request(b"POST /v1.41/build?t=x HTTP/1.1\r\n\r\n"))
    assert [(one.kind, one.id) for one in record.objects] == [("label", "0123ab")]


COMMIT = parse_request(b"POST /v1.41/commit?container=mine&repo=x HTTP/1.1\r\n\r\n")


def make_committing(tmp_path, monkeypatch, result):
    """Return a policy whose container was created, and the commits; each has this result."""
    policy, _ = make_recording(tmp_path, {"/containers/mine/json": {"Id": ID, "Config": {}}})
    policy.engine, commits = object(), []
    play(policy, "/containers/create", b'{"Env":["AWS_REGION=us-east-1","HTTP_PROXY=p"]}', CREATED)

    async def commit(*arguments):
        commits.append(arguments)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(committed_image, "commit", commit)
    return policy, commits


def test_a_commit_of_a_changed_container_is_done_by_the_agent(tmp_path, monkeypatch):
    """With what its variables were before; the client gets the engine's own answer."""
    policy, commits = make_committing(tmp_path, monkeypatch, "sha256:1")
    assert policy.body_limit(COMMIT) is not None
    with pytest.raises(RequestAnswered) as answered:
        asyncio.run(policy.check(COMMIT, b"null"))
    assert (answered.value.status, answered.value.fields) == (201, {"Id": "sha256:1"})
    ((engine, query, body, config, originals),) = commits
    assert config == {}
    assert (engine, query, body) == (policy.engine, "container=mine&repo=x", b"null")
    assert originals == {
        RELATIVE_URI: None,
        "AWS_DEFAULT_REGION": None,
        "AWS_EC2_METADATA_DISABLED": None,
        "NO_PROXY": None,
        "no_proxy": None,
    }


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Refused("POST /commit 409", 409, "it is paused"), 409, "it is paused"),
        (EngineError("it is away"), 503, "it is away"),
        (UnreadableBody("no JSON"), 400, "no JSON"),
    ],
)
def test_the_client_gets_the_engine_s_error_of_a_commit(
    tmp_path, monkeypatch, error, status, words
):
    """With its status, as without the agent."""
    policy, _ = make_committing(tmp_path, monkeypatch, error)
    with pytest.raises(RequestRefused, match=words) as refused:
        asyncio.run(policy.check(COMMIT, b"null"))
    assert refused.value.status == status


def test_a_commit_of_another_container_is_unchanged(tmp_path):
    """Of one that the engine does not know too."""
    policy, _ = make_recording(tmp_path, {"/containers/other/json": {"Id": "f" * 64}})
    policy.engine = object()
    for query in ("?container=other", "?container=unknown", ""):
        assert play(policy, f"/commit{query}", b"null", b"{}") == b"null"


def check(policy: RequestRewriter, body: bytes):
    """Check a create request with this body."""
    return asyncio.run(policy.check(CREATE, body))


@pytest.mark.parametrize(
    ("line", "plain", "strict"),
    [
        (b"POST /v1.41/containers/create", True, True),
        (b"POST /v4.0.0/libpod/containers/create", True, True),
        (b"POST /containers/x/exec", False, True),
        (b"POST /volumes/create", False, True),
        (b"POST /networks/create", True, True),
        (b"POST /v4.0.0/libpod/networks/create", True, True),
        (b"POST /containers/x/start", False, True),
        (b"POST /containers/x/stop", False, False),
        (b"GET /containers/json", False, False),
    ],
)
def test_only_some_requests_are_checked(line, plain, strict):
    """In strict mode also those that start commands and containers, and make volumes."""
    request = parse_request(line + b" HTTP/1.1\r\n\r\n")
    for is_strict, is_checked in ((False, plain), (True, strict)):
        limit = make_policy(FakePaths(), strict=is_strict).body_limit(request)
        assert limit == (rewriting.MAX_BODY if is_checked else None)


def test_a_new_container_gets_its_path():
    """The path is in the engine's request, and assigned by the id in its response."""
    paths = FakePaths()
    checked = check(make_policy(paths), b'{"Image":"x"}')
    assert f"{RELATIVE_URI}=/v2/credentials/1" in json.loads(checked.body)["Env"]
    checked.handle_response(201, CREATED)
    assert paths.assigned == [("/v2/credentials/1", ID)]
    assert paths.revoked == []


@pytest.mark.parametrize(
    ("status", "body"), [(409, CREATED), (201, b"{"), (201, b"[]"), (201, b'{"Id":1}')]
)
def test_a_response_without_a_container_revokes_the_path(status, body):
    """Also one that cannot be parsed."""
    paths = FakePaths()
    check(make_policy(paths), b"{}").handle_response(status, body)
    assert paths.revoked == paths.minted == ["/v2/credentials/1"]
    assert paths.assigned == []


def test_a_missing_response_revokes_the_path():
    """It is unknown whether there is a container."""
    paths = FakePaths()
    check(make_policy(paths), b"{}").handle_no_response()
    assert paths.revoked == ["/v2/credentials/1"]


def test_an_unreadable_body_is_a_bad_request():
    """The client's own error, in strict mode too."""
    for strict in (False, True):
        with pytest.raises(RequestRefused) as refused:
            check(make_policy(FakePaths(), strict=strict), b"{")
        assert refused.value.status == 400


def test_a_refusal_is_logged_once_and_at_most_so_often(monkeypatch):
    """A job may send as many dangerous requests as it likes."""
    monkeypatch.setattr(warning_limit, "MAX_LINES", 2)
    policy = make_policy(FakePaths(), strict=True)
    with capture_logs() as logs:
        for mode in ("PidMode", "PidMode", "IpcMode", "NetworkMode"):
            body = json.dumps({"HostConfig": {mode: "host"}}).encode()
            with pytest.raises(RequestRefused) as refused:
                check(policy, body)
            assert refused.value.status == 403
    assert [event["reason"] for event in logs] == [
        "the host's pid namespace",
        "the host's ipc namespace",
    ]


def ruled(mint_for):
    """Return a policy with rules for containers, and its paths."""
    paths = FakePaths()
    policy = make_policy(paths)
    policy.variables = CredentialVariables("eu-central-1", paths.mint, mint_for=mint_for)
    return policy, paths


@pytest.mark.parametrize(
    "env",
    [[], ["AWS_ACCESS_KEY_ID=AKIA"], [f"{RELATIVE_URI}=/v2/credentials/job"]],
    ids=["none", "own credentials", "the job's path"],
)
def test_with_rules_every_container_is_known(env):
    """Also one that cannot use a path: its rule counts when it asks by its address."""
    policy, paths = ruled(lambda container: f"/v2/credentials/{container.image}")
    body = json.dumps({"Image": "redis", "Env": env}).encode()
    play(policy, "/containers/create", body, CREATED)
    assert paths.assigned == [("/v2/credentials/redis", ID)]
    assert paths.minted == []


def test_a_rule_can_refuse_a_container():
    """The client gets the rule's words; the engine is not asked."""

    def mint_for(_):
        raise RequestRefused(403, "it needs a network of its own")

    policy, _ = ruled(mint_for)
    for env in ([], ["AWS_ACCESS_KEY_ID=AKIA"]):
        body = json.dumps({"Image": "redis", "Env": env}).encode()
        with pytest.raises(RequestRefused, match="network of its own"):
            asyncio.run(policy.check(CREATE, body))


GIVING = ("/containers/c1/start", "/containers/c1/restart", "/networks/n1/connect")
"""Requests by which a container may get an address."""


@pytest.mark.parametrize("path", GIVING)
@pytest.mark.parametrize("answered", [True, False], ids=["answered", "unanswered"])
def test_with_rules_the_relay_knows_of_each_start(path, answered):
    """From before the engine hears of it, until its answer."""
    policy, paths = ruled(lambda _: "/v2/credentials/1")
    request = parse_request(f"POST /v1.41{path} HTTP/1.1\r\n\r\n".encode())
    assert policy.body_limit(request) is not None
    checked = asyncio.run(policy.check(request, b""))
    assert (checked.body, paths.starting) == (b"", 1)
    if answered:
        checked.handle_response(204, b"")
    else:
        checked.handle_no_response()
    assert paths.starting == 0


@pytest.mark.parametrize("path", GIVING)
def test_without_rules_a_start_is_not_looked_at(path):
    """It goes on as it comes."""
    request = parse_request(f"POST /v1.41{path} HTTP/1.1\r\n\r\n".encode())
    assert make_policy(FakePaths()).body_limit(request) is None


def test_with_rules_no_start_changes_a_container():
    """Before API 1.24 it could give it another network than that of its creation."""
    policy, paths = ruled(lambda _: "/v2/credentials/1")
    request = parse_request(b"POST /v1.21/containers/c1/start HTTP/1.1\r\n\r\n")
    with capture_logs(), pytest.raises(RequestRefused, match="SIDECAR_ROLES") as refused:
        asyncio.run(policy.check(request, b'{"NetworkMode": "host"}'))
    assert (refused.value.status, paths.starting) == (403, 0)
