"""Every request of the engine's API has a verdict; one that nobody knows is refused."""

from __future__ import annotations

import pytest

from sidecar.docker import routes, strict_mode
from sidecar.docker.routes import Route, Verdict
from tests.adversary.engine_requests import find_refusal, make_strict

STARTED = {"Privileged": True, "Binds": ["/:/host"]}


@pytest.mark.parametrize("version", ["/v1.23", "", "/v1.12"])
@pytest.mark.parametrize("verb", ["start", "restart"])
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_start_cannot_change_the_container(mended, verb, version, monkeypatch):
    """Before API 1.24 the body of a start was a HostConfig, and docker 20.10 still reads it."""
    if not mended:
        monkeypatch.setattr(strict_mode, "check_start", lambda _body: None)
    line = f"POST {version}/containers/x/{verb}"
    assert (find_refusal(make_strict(), line, STARTED) is not None) is mended


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b" \r\n"])
def test_an_ordinary_start_passes(body):
    """With keys to detach, or seconds to wait."""
    for line in ("start?detachKeys=ctrl-p", "restart?t=5", "start"):
        assert find_refusal(make_strict(), f"POST /v1.41/containers/x/{line}", body) is None


@pytest.mark.parametrize(
    "line",
    [
        "POST /containers/x/start?checkpoint=c&checkpoint-dir=/etc",
        "POST /containers/x/checkpoints",
        "GET /containers/x/checkpoints?dir=/etc",
        "POST /containers/x/new-verb",
        "POST /v9.99/things",
        "GET /debug/pprof/heap",
        "PUT /volumes/x",
    ],
)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_request_that_is_not_listed_is_refused(mended, line, monkeypatch):
    """A request without a route is refused, by any method; once, only listed ones were."""
    if not mended:
        passing = Route("", "", Verdict.RAW, "")
        monkeypatch.setattr(routes, "find_route", lambda _method, _path: passing)
        monkeypatch.setattr(strict_mode, "_START_FIELDS", {"checkpoint", "checkpoint-dir"})
    assert (find_refusal(make_strict(), line) is not None) is mended


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("POST /containers/x/update", {"RestartPolicy": {"Name": "always"}}),
        ("POST /containers/x/update", {"Devices": [{"PathOnHost": "/dev/sda"}]}),
        ("POST /containers/x/exec", {"privileged": True}),
        ("POST /networks/create", {"Name": "n", "Driver": "macvlan"}),
        ("POST /volumes/create", {"Driver": "mine"}),
    ],
)
def test_other_bodies_are_judged_too(line, body):
    """Nothing gets by an update, a command, a network or a volume what a create refuses."""
    assert find_refusal(make_strict(), line, body)


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (
            "POST /containers/x/update",
            {"Memory": 1 << 30, "CpuShares": 0, "RestartPolicy": {"Name": ""}, "Devices": None},
        ),
        ("POST /containers/x/exec", {"Cmd": ["true"], "Privileged": False}),
        ("POST /networks/create", {"Name": "n", "Driver": "bridge", "Labels": {}}),
        ("POST /volumes/create", b""),
        ("POST /volumes/create", {"Name": "v", "Driver": "", "DriverOpts": {}}),
    ],
)
def test_other_ordinary_bodies_pass(line, body):
    """As docker's own client sends them."""
    assert find_refusal(make_strict(), line, body) is None


def test_an_upgrade_to_http_2_is_refused():
    """The whole API could be used by it, past the proxy."""
    upgrade = ("Connection: Upgrade", "Upgrade: h2c")
    assert find_refusal(make_strict(), "GET /_ping", None, *upgrade)
    assert find_refusal(make_strict(), "POST /session", None, *upgrade) is None
    attach = ("Connection: Upgrade", "Upgrade: tcp")
    assert find_refusal(make_strict(), "POST /containers/x/attach", None, *attach) is None
