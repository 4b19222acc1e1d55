"""The ECS face: the agent's statuses and bodies, to GET of one secret path alone."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from sidecar.http import Refusal, Request
from sidecar.relay.faces import EcsFace
from sidecar.relay.refusals import Refusals
from sidecar.relay.upstream import Credentials

SECRET = "s" * 43


class Held:
    """Stands for a keeper that holds what it is told."""

    def __init__(self, credentials: Credentials | None) -> None:
        self.credentials = credentials

    def current(self) -> Credentials | None:
        """Return it."""
        return self.credentials


def version(number: int) -> Credentials:
    """Return credentials whose body is known."""
    return Credentials("ASIA", 0.0, None, b'{"version":%d}' % number)


HELD = version(1)


def face(held: Held, now=lambda: 0.0) -> EcsFace:
    """Return a face on what is held."""
    return EcsFace(held, SECRET, Refusals(now))


def ask(target: str, method: str = "GET", held: Credentials | None = HELD):
    """Ask a face that holds `held`."""
    return face(Held(held)).answer(Request(method, target, {}, "127.0.0.1"))


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        (f"/v2/credentials/{SECRET}x", 400, "InvalidIdInRequest"),
        (f"/v2/credentials/{SECRET[:-1]}", 400, "InvalidIdInRequest"),
        (f"/v2/credentials/{SECRET}/", 400, "InvalidIdInRequest"),
        (f"/v2/credentials/{SECRET}?", 400, "InvalidIdInRequest"),
        (f"/v2/credentials/{SECRET.upper()}", 400, "InvalidIdInRequest"),
        (f"/v2/credentials//{SECRET}", 400, "InvalidIdInRequest"),
        ("/v2/credentials/x", 400, "InvalidIdInRequest"),
        ("/v2/credentials/", 400, "NoIdInRequest"),
    ],
)
def test_an_error_has_the_agents_code_in_both_spellings(target, status, code):
    """Some SDKs read `code`, others `Code`; all need exactly `application/json`."""
    answer = ask(target)
    told = json.loads(answer.body)
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert told["code"] == told["Code"] == code
    assert told["message"] == told["Message"]
    assert told["message"].startswith("CredentialsV2Request: ")
    assert told["HTTPErrorCode"] == status


@pytest.mark.parametrize(
    "target",
    ["/", "/v2/credentials", f"/v1/credentials?id={SECRET}", f"/V2/credentials/{SECRET}", "/v4/x"],
)
def test_everything_else_is_not_found(target):
    """Nothing of the agent but its credentials is relayed."""
    answer = ask(target)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "OPTIONS", "DELETE"])
def test_only_get_is_answered(method):
    """The agent takes any method; the relay says which it takes."""
    answer = ask(f"/v2/credentials/{SECRET}", method)
    assert answer.status == 405
    assert b"Allow: GET\r\n" in answer.wire


def test_the_secret_path_is_answered_with_what_is_held():
    """The body is upstream's, and is rendered once for each version."""
    ecs = face(held := Held(version(1)))
    request = Request("GET", f"/v2/credentials/{SECRET}", {}, "127.0.0.1")
    first = ecs.answer(request)
    assert (first.status, first.content_type) == (200, "application/json")
    assert first.body == b'{"version":1}'
    assert ecs.answer(request) is first
    held.credentials = version(2)
    assert ecs.answer(request).body == b'{"version":2}'
    held.credentials = None
    assert ecs.answer(request).status == 503


def test_nothing_held_is_a_503():
    """As the agent says it while it waits for credentials itself."""
    answer = ask(f"/v2/credentials/{SECRET}", held=None)
    assert answer.status == 503
    assert json.loads(answer.body)["Code"] == "CredentialsUninitialized"


def test_a_refusal_can_be_read_by_sdks_too():
    """What the listener turns away is answered in the same form."""
    answer = face(Held(HELD)).refuse(Refusal(421, "this is not that Host", "127.0.0.1"))
    assert (answer.status, answer.content_type) == (421, "application/json")
    assert json.loads(answer.body)["Message"] == "this is not that Host"


def test_refusals_are_logged_once_a_minute_of_each_kind():
    """Why and who, how many were left out, and nothing of what was asked."""
    now = [1000.0]
    ecs = face(Held(HELD), lambda: now[0])
    with capture_logs() as logs:
        for seconds in (0, 1, 59, 61, 62):
            now[0] = 1000.0 + seconds
            ecs.answer(Request("GET", "/v2/credentials/GUESS", {}, "10.0.0.1"))
            ecs.answer(Request("PUT", f"/v2/credentials/{SECRET}", {}, "10.0.0.2"))
            ecs.refuse(Refusal(403, "relayed requests are not answered", "10.0.0.3"))
        ecs.answer(Request("GET", f"/v2/credentials/{SECRET}", {}, "10.0.0.1"))
    assert {line["event"] for line in logs} == {"relay.refused"}
    assert [(line["why"], line["peer"], line["unsaid"]) for line in logs] == [
        ("wrong secret", "10.0.0.1", 0),
        ("wrong method", "10.0.0.2", 0),
        ("relayed requests are not answered", "10.0.0.3", 0),
        ("wrong secret", "10.0.0.1", 2),
        ("wrong method", "10.0.0.2", 2),
        ("relayed requests are not answered", "10.0.0.3", 2),
    ]
