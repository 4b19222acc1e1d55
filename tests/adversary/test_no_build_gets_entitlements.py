"""A build has no part of the machine: neither its network nor a step without a sandbox."""

from __future__ import annotations

import pytest

from sidecar.docker import routes, strict_mode
from tests.adversary.engine_requests import find_refusal, make_strict

FORM = "Content-Type: application/x-www-form-urlencoded"
ATTACKS = {
    "the host's network": ("POST /v1.41/build?networkmode=host",),
    "the same of BuildKit": ("POST /build?version=2&networkmode=host&session=x",),
    "another container's network": ("POST /v1.41/build?networkmode=container:ecs-agent",),
    "a file's network": ("POST /v1.41/build?networkmode=ns:/proc/1/ns/net",),
    "an encoded name": ("POST /build?network%6dode=%68ost",),
    "the same twice": ("POST /build?networkmode=default&networkmode=host",),
    "a form": ("POST /build?remote=http://x", b"networkmode=host", FORM),
    "another separator": ("POST /build?t=x;networkmode=host",),
    "a folder, by podman": ("POST /build?volume=/:/host",),
    "podman's own": ("POST /libpod/build?devices=/dev/sda",),
    "BuildKit's stream": ("POST /grpc", None, "Connection: Upgrade", "Upgrade: h2c"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_build_gets_no_entitlement(mended, attack, monkeypatch):
    """Not by its query, not by a form, and not within a stream that nobody can read."""
    if not mended:
        stream = routes.Route("POST", "/grpc", routes.Verdict.RAW, "")
        kept = [route for route in routes.ROUTES if route.path != "/grpc"]
        monkeypatch.setattr(routes, "ROUTES", (*kept, stream))
        monkeypatch.setattr(strict_mode, "_check_build", lambda _request: None)
        monkeypatch.setattr(strict_mode, "_check_reading", lambda _request: None)
    assert (find_refusal(make_strict(), *ATTACKS[attack]) is not None) is mended


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?buildargs=%7B%7D&cachefrom=%5B%5D&cgroupparent=&cpuquota=0&dockerfile=x&labels=%7B%7D",
        "?networkmode=default&rm=1&shmsize=0&t=a%3Ab&target=&ulimits=null&version=1&memswap=0",
        "?version=2&session=x&buildid=y&remote=client-session&networkmode=none&platform=",
    ],
)
def test_an_ordinary_build_passes(query):
    """With docker's own builder, and with BuildKit by the build request."""
    tar = "Content-Type: application/x-tar"
    assert find_refusal(make_strict(), f"POST /v1.41/build{query}", None, tar) is None
