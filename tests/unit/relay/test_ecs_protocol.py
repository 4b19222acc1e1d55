"""The ECS protocol: statuses and bodies as the ECS agent's, and only for GET of a secret path."""

from __future__ import annotations

import json

import pytest

from sidecar.aws.container_credentials import Credentials
from sidecar.net.http_server import Refusal
from sidecar.relay.identities import PREFIX
from sidecar.relay.protocol import hold_for_admission


def version(number: int) -> Credentials:
    """Return credentials whose body is known."""
    return Credentials(f"ASIA{number:04}", 5000.0, None, b'{"version":%d}' % number)


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("{secret}x", 400, "InvalidIdInRequest"),
        ("{short}", 400, "InvalidIdInRequest"),
        ("{secret}/", 400, "InvalidIdInRequest"),
        ("{secret}?", 400, "InvalidIdInRequest"),
        ("{upper}", 400, "InvalidIdInRequest"),
        ("/{secret}", 400, "InvalidIdInRequest"),
        ("x", 400, "InvalidIdInRequest"),
        ("", 400, "NoIdInRequest"),
    ],
)
def test_an_error_has_the_ecs_agents_code_in_both_spellings(core, target, status, code):
    """Some SDKs read `code`, others `Code`; all need exactly `application/json`."""
    secret = core.secret
    target = target.format(secret=secret, short=secret[:-1], upper=secret.upper())
    answer = core.ask(f"/v2/credentials/{target}")
    error = json.loads(answer.body)
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert error["code"] == error["Code"] == code
    assert error["message"] == error["Message"]
    assert error["message"].startswith("CredentialsV2Request: ")
    assert error["HTTPErrorCode"] == status


@pytest.mark.parametrize(
    "target",
    ["/", "/v2/credentials", "/v1/credentials?id={0}", "/V2/credentials/{0}", "/v4/x"],
)
def test_everything_else_is_not_found(core, target):
    """Of the ECS agent, only the credentials are relayed."""
    answer = core.ask(target.format(core.secret))
    assert (answer.status, answer.body) == (404, b"404 page not found\n")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "OPTIONS", "DELETE"])
def test_only_get_is_answered(core, method):
    """The ECS agent accepts any method; the relay answers 405 and names the one it accepts."""
    answer = core.ask(core.path, method=method)
    assert answer.status == 405
    assert b"Allow: GET\r\n" in answer.wire


def test_the_secret_path_gets_the_current_credentials(core):
    """The body is that of upstream, and is rendered once for each version."""
    core.hold(version(1))
    first = core.ask(core.path)
    assert (first.status, first.content_type) == (200, "application/json")
    assert first.body == b'{"version":1}'
    assert core.ask(core.path).wire is first.wire
    core.hold(version(2))
    assert core.ask(core.path).body == b'{"version":2}'
    core.hold(None)
    assert core.ask(core.path).status == 503


def test_without_credentials_the_answer_is_503(core):
    """The code is that of an ECS agent that waits for credentials itself."""
    core.hold(None)
    answer = core.ask(core.path)
    assert answer.status == 503
    assert json.loads(answer.body)["Code"] == "CredentialsUninitialized"


def test_nobody_is_served_before_a_job_is_admitted(core):
    """But other containers of the task, whose path no job knows, are."""
    core.hold(version(1))
    core.identities.share(PREFIX + "the-task-s-own")
    own = core.identities.mint()
    core.identities.hold(hold_for_admission())
    for path in (core.path, own, PREFIX + "a-guess"):
        answer = core.ask(path)
        assert (answer.status, json.loads(answer.body)["Message"]) == (
            503,
            "no job is admitted yet",
        )
    assert core.ask("/latest/api/token", method="PUT", host="169.254.169.254").status == 503
    assert core.ask(PREFIX + "the-task-s-own").status == 200
    core.identities.release()
    assert [core.ask(path).status for path in (core.path, own, PREFIX + "a-guess")] == [
        200,
        200,
        400,
    ]


def test_sdks_can_read_a_refusal_of_the_listener(core):
    """A request that the listener refuses is answered in the same form."""
    answer = core.router.refuse(Refusal(421, "this is not that Host", "127.0.0.1"))
    assert (answer.status, answer.content_type) == (421, "application/json")
    assert json.loads(answer.body)["Message"] == "this is not that Host"


def test_only_local_peers_are_answered(core):
    """A peer from outside the task is refused, even if it knows a secret path."""
    core.local_peers = {"172.17.0.2"}
    assert core.ask(core.path, peer="172.17.0.2").status == 200
    refused = core.ask(core.path, peer="10.0.0.9")
    assert (refused.status, json.loads(refused.body)["Code"]) == (403, "AccessDenied")
    assert core.ask("/latest/api/token", peer="10.0.0.9", host="169.254.169.254").status == 403
