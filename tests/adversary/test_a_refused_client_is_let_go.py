"""Hold: a refusal ends the connection of a client that asked for its end.

Unmended, the client waits for an end that does not come, and a job holds such connections open.
"""

from __future__ import annotations

import asyncio
import sys

import pytest

from sidecar.docker import heads
from tests.support.loops import on_both, run
from tests.unit.docker.fakes import answer_all, post, start_stage, wait_until_empty

if sys.platform == "win32":
    pytest.skip("Windows has no docker proxy", allow_module_level=True)

pytestmark = on_both

CREATE = "/v1.41/containers/create"


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
@pytest.mark.parametrize(
    ("version", "headers", "closed"),
    [
        (b"1.1", (b"Connection: close",), True),
        (b"1.1", (b"Connection: Upgrade, Close",), True),
        (b"1.0", (), True),
        (b"1.0", (b"Connection: keep-alive",), False),
        (b"1.1", (), False),
    ],
)
def test_a_refusal_closes_the_connection_of_a_client_that_waits_for_that(
    loop, tmp_path, monkeypatch, version, headers, closed, mended
):
    """The client has not ended its own data, and would wait; another one may send more."""
    if not mended:
        monkeypatch.setattr(heads.RequestHead, "ends_connection", False)

    async def scenario():
        async with start_stage(tmp_path, answer_all, strict=True) as stage:
            reader, writer = await stage.connect()
            body = b'{"HostConfig":{"Privileged":true}}'
            writer.write(post(CREATE, body, *headers).replace(b"HTTP/1.1", b"HTTP/" + version))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 403 ")
            assert (b"Connection: close" in head) is (closed and mended)
            if closed and mended:
                await asyncio.wait_for(reader.read(), 10)
                await wait_until_empty(stage.proxy)
            else:
                await reader.readuntil(b"\n")
                writer.write(post("/_ping", b"still open").replace(b"POST", b"GET"))
                assert await reader.readuntil(b"still open")
            writer.close()

    run(loop, scenario())
