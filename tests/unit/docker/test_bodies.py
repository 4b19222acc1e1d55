"""Bodies are followed to their last byte, and no further."""

from __future__ import annotations

import pytest

from sidecar.docker.bodies import ChunkedBody, FixedLengthBody, FramingError, UntilCloseBody

GOOD = b"3\r\nabc\r\n0A;x=y\r\n0123456789\r\n000\r\nTrailer: 1\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(GOOD) + 4])
def test_a_chunked_body_ends_after_its_trailer(size):
    """It ends there in whatever pieces it comes, and takes nothing of what follows."""
    stream, body, content, taken = GOOD + b"POST", ChunkedBody(), bytearray(), 0
    for at in range(0, len(stream), size):
        taken += body.take(memoryview(stream[at : at + size]), content)
    assert body.done
    assert bytes(content) == b"abc0123456789"
    assert stream[taken:] == b"POST"


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n\r\n",
        b"1\r\na\rb",
        b"1;a\rb\r\n",
        b"1" * 16 + b"\r\n",
        b"0" * 5000,
        b"0\r\nno field\r\n\r\n",
        b"0\r\n folded: 1\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_an_ambiguous_chunked_body_is_refused(body, size):
    """It is refused, so that nothing after it is taken for a request."""
    with pytest.raises(FramingError):
        follow(body, size)


def follow(body: bytes, size: int) -> None:
    """Follow a body that comes in pieces of this size."""
    frame = ChunkedBody()
    for at in range(0, len(body), size):
        frame.take(memoryview(body[at : at + size]))


def test_a_body_with_a_length_ends_after_so_many_bytes():
    """A body of length 0 is done from the start."""
    body, content = FixedLengthBody(5), bytearray()
    assert body.take(memoryview(b"abc"), content) == 3
    assert not body.done
    assert body.take(memoryview(b"defg"), content) == 2
    assert body.done
    assert bytes(content) == b"abcde"
    assert FixedLengthBody(0).done


def test_a_body_without_length_takes_all_data():
    """It ends with its connection only."""
    body, content = UntilCloseBody(), bytearray()
    assert body.take(memoryview(b"abc"), content) == 3
    assert not body.done
    assert bytes(content) == b"abc"
