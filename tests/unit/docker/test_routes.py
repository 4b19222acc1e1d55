"""The table of requests has every one that an engine knows, and what becomes of it."""

from __future__ import annotations

import pytest

from sidecar.docker import routes
from sidecar.docker.routes import Verdict, find_route

BOTH = """
GET /_ping  HEAD /_ping  GET /version  GET /info  GET /events  GET /system/df  POST /auth
POST /commit  POST /session  POST /build  POST /build/prune  GET /distribution/x/json
GET /containers/json  POST /containers/create  GET /containers/x/json  GET /containers/x/top
GET /containers/x/logs  GET /containers/x/changes  GET /containers/x/export
GET /containers/x/stats  POST /containers/x/resize  POST /containers/x/start
POST /containers/x/stop  POST /containers/x/restart  POST /containers/x/kill
POST /containers/x/update  POST /containers/x/rename  POST /containers/x/pause
POST /containers/x/unpause  POST /containers/x/attach  GET /containers/x/attach/ws
POST /containers/x/wait  DELETE /containers/x  HEAD /containers/x/archive
GET /containers/x/archive  PUT /containers/x/archive  POST /containers/prune
POST /containers/x/exec  POST /exec/x/start  POST /exec/x/resize  GET /exec/x/json
GET /images/json  POST /images/create  GET /images/a/b/json  GET /images/a/b/history
POST /images/a/b/push  POST /images/a/b/tag  DELETE /images/a/b  GET /images/search
POST /images/prune  GET /images/a/b/get  GET /images/get  POST /images/load
GET /volumes  POST /volumes/create  GET /volumes/x  DELETE /volumes/x  POST /volumes/prune
GET /networks  GET /networks/x  DELETE /networks/x  POST /networks/create
POST /networks/x/connect  POST /networks/x/disconnect  POST /networks/prune
GET /plugins  GET /plugins/privileges  POST /plugins/pull  GET /plugins/x/json  DELETE /plugins/x
POST /plugins/x/enable  POST /plugins/x/disable  POST /plugins/x/upgrade  POST /plugins/create
POST /plugins/x/push  POST /plugins/x/set
GET /nodes  GET /nodes/x  DELETE /nodes/x  POST /nodes/x/update
GET /swarm  POST /swarm/init  POST /swarm/join  POST /swarm/leave  POST /swarm/update
GET /swarm/unlockkey  POST /swarm/unlock
GET /services  POST /services/create  GET /services/x  DELETE /services/x
POST /services/x/update  GET /services/x/logs  GET /tasks  GET /tasks/x  GET /tasks/x/logs
GET /secrets  POST /secrets/create  GET /secrets/x  DELETE /secrets/x  POST /secrets/x/update
GET /configs  POST /configs/create  GET /configs/x  DELETE /configs/x  POST /configs/x/update
"""
"""The requests in the descriptions of both versions of the API: 1.41 and 1.45."""
ADDED_LATER = "PUT /volumes/x"
"""A request that only the description of 1.45 has."""
NOT_DESCRIBED = """
OPTIONS /x  POST /grpc  POST /build/cancel  POST /containers/x/copy  GET /debug/pprof/heap
GET /containers/x/checkpoints  POST /containers/x/checkpoints  DELETE /containers/x/checkpoints/y
"""
"""Requests that no description has, and that engines answer."""


def read_requests(text: str) -> list[str]:
    """Return the requests of a list."""
    words = text.split()
    return [f"{method} {path}" for method, path in zip(words[::2], words[1::2], strict=True)]


@pytest.mark.parametrize("request_line", read_requests(BOTH + ADDED_LATER + NOT_DESCRIBED))
def test_every_request_of_an_engine_has_a_row_with_a_reason(request_line):
    """A request that nobody has thought about is a way past the agent."""
    route = find_route(*request_line.split())
    assert route is not None
    assert len(route.reason.split()) >= 2


def test_every_row_is_a_request_that_an_engine_has():
    """Nothing is allowed that no engine knows; podman's rows are of its own API."""
    requests = [one.split() for one in read_requests(BOTH + ADDED_LATER + NOT_DESCRIBED)]
    docker = [route for route in routes.ROUTES if not route.path.startswith("/libpod/")]
    assert [one for one in docker if not any(one.matches(*request) for request in requests)] == []


def test_no_request_has_two_rows():
    """One row says what becomes of it."""
    rows = [(route.method, route.path) for route in routes.ROUTES]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize(
    ("method", "path", "verdict"),
    [
        ("POST", "/containers/a/b/start", Verdict.JUDGED),
        ("POST", "/containers/create", Verdict.JUDGED),
        ("GET", "/containers/x/checkpoints", Verdict.REFUSED),
        ("POST", "/grpc", Verdict.REFUSED),
        ("POST", "/session", Verdict.RAW),
    ],
)
def test_the_verdict_of_some_requests(method, path, verdict):
    """The strictest of the rows that match a path counts."""
    found = find_route(method, path)
    assert found is not None
    assert found.verdict is verdict


@pytest.mark.parametrize(
    "request_line", ["POST /new", "post /auth", "PATCH /containers/x", "GET /"]
)
def test_an_unknown_request_has_no_row(request_line):
    """Strict mode refuses it."""
    assert find_route(*request_line.split()) is None
