"""A response is followed to its end, in whatever pieces it comes."""

from __future__ import annotations

import pytest

from sidecar.docker import heads
from sidecar.docker.responses import Response

NEXT = b"HTTP/1.1 200 OK\r\n"


def follow(response: Response, data: bytes, size: int) -> int:
    """Give data to a response in pieces of this size; return how much belongs to it."""
    return sum(response.take(memoryview(data[at : at + size])) for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 X\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_a_response_ends_with_its_body(data, size):
    """Its status is that of the last head, and what follows does not belong to it."""
    response = Response("POST", keep_body=True)
    assert follow(response, data + NEXT, size) == len(data)
    assert (response.status, response.body, response.done) == (201, b"abc", True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 UPGRADED\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"no head\r\n\r\n",
        b"x" * (heads.MAX_HEAD + 1),
    ],
)
def test_a_response_without_a_known_end_lasts_until_close(data):
    """A hijacked stream, or a response that cannot be parsed."""
    response = Response("POST", keep_body=False)
    follow(response, data, 10_000)
    assert response.until_close
    assert not response.done
    assert response.body is None
