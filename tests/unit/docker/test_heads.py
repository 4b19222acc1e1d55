"""Heads are parsed as Go's net/http does: their end, their meaning, and what is refused."""

from __future__ import annotations

import pytest

from sidecar.docker import heads
from sidecar.docker.bodies import ChunkedBody, FixedLengthBody, UntilCloseBody
from sidecar.docker.heads import MalformedHead, parse_request, parse_response


@pytest.mark.parametrize(
    ("head", "end"),
    [
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest", 24),
        (b"GET / HTTP/1.1\nA: b\n\nrest", 21),
        (b"GET / HTTP/1.1\r\nA: b\n\r\n", 23),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r", -1),
        (b"GET / HTTP/1.1\r\n", -1),
    ],
)
def test_a_head_ends_with_an_empty_line(head, end):
    """With CR or without, as in Go; the end is also found if the head comes byte by byte."""
    assert heads.find_end(head) == end
    came = [heads.find_end(head[:at], max(0, at - 1)) for at in range(1, len(head) + 1)]
    assert next((at for at in came if at >= 0), -1) == end


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/containers/create", "/containers/create", ""),
        ("/v1.41/containers/create?name=a%2Fb", "/containers/create", "name=a%2Fb"),
        ("/v4.0.0-rc1/libpod/containers/create", "/libpod/containers/create", ""),
        ("http://docker/containers/create", "/containers/create", ""),
        ("unix://x/v1.2/containers/create", "/containers/create", ""),
        ("/v1.41//containers/x/../create", "/containers/create", ""),
        ("/%76%31.41/containers/create", "/containers/create", ""),
        ("/v1.41", "/v1.41", ""),
        ("/a?b?http://c/d", "/a", "b?http://c/d"),
        ("*", "/*", ""),
    ],
)
def test_paths_are_normalized(target, path, query):
    """However it is written, and whatever the API version; the raw bytes stay unchanged."""
    raw = f"POST {target} HTTP/1.1\r\n\r\n".encode()
    head = parse_request(raw)
    assert (head.path, head.query, head.raw) == (path, query, raw)


@pytest.mark.parametrize(("fields", "added"), [(b"", True), (b"Content-Type: text/x\r\n", False)])
def test_a_body_where_there_was_none_gets_a_type(fields, added):
    """`docker commit` sends none, and the engine refuses JSON without a type."""
    head = parse_request(b"POST /commit HTTP/1.1\r\n" + fields + b"Content-Length: 0\r\n\r\n")
    sent = head.with_body(b"{}")
    assert (b"\r\nContent-Type: application/json\r\n" in sent) is added
    assert sent.lower().count(b"content-type") == 1


def test_another_body_changes_the_content_length_only():
    """Other fields stay in order, byte for byte."""
    raw = (
        b"POST /x HTTP/1.1\r\nhOst: d\r\nContent-length: 3\r\nX-Meta: a\r\n"
        b"Expect: 100-continue\r\nx-meta:b \r\n\r\n"
    )
    head = parse_request(raw)
    assert head.expects_continue
    assert head.with_body(b"four") == (
        b"POST /x HTTP/1.1\r\nhOst: d\r\nX-Meta: a\r\nx-meta:b \r\nContent-Length: 4\r\n\r\nfour"
    )


@pytest.mark.parametrize(
    ("fields", "body", "remaining"),
    [
        (b"", FixedLengthBody, 0),
        (b"Content-Length: 12\r\n", FixedLengthBody, 12),
        (b"Content-Length: 12\r\nContent-Length: 12\r\n", FixedLengthBody, 12),
        (b"Transfer-Encoding: Chunked\r\n", ChunkedBody, None),
    ],
)
def test_a_request_body_has_a_length_or_chunks(fields, body, remaining):
    """It never lasts until the connection's end: without length and chunks there is no body."""
    head = parse_request(b"POST /x HTTP/1.1\r\n" + fields + b"\r\n").make_body()
    assert isinstance(head, body)
    assert getattr(head, "remaining", None) == remaining


@pytest.mark.parametrize(
    "line",
    [
        b"GET /a b HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET / http/1.1",
        b"G(T / HTTP/1.1",
        b"GET /\xff\r HTTP/1.1",
        b"GET /",
        b"",
    ],
)
def test_a_malformed_request_line_is_refused(line):
    """The status is 400, as from the engine."""
    with pytest.raises(MalformedHead) as refused:
        parse_request(line + b"\r\nHost: d\r\n\r\n")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "field", [b"A b: c", b"A : c", b": c", b"no colon", b" A: b", b"A: \x00", b"A: b\rc"]
)
def test_a_malformed_field_is_refused(field):
    """Folded, without a name, or with a character that is not allowed."""
    with pytest.raises(MalformedHead):
        parse_request(b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("head", "method", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", FixedLengthBody),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", ChunkedBody),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", FixedLengthBody),
        (b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n", "GET", UntilCloseBody),
        (b"HTTP/1.1 101 UPGRADED\r\nContent-Length: 5\r\n\r\n", "GET", UntilCloseBody),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", FixedLengthBody),
        (b"HTTP/1.1 200\r\nContent-Length: x\r\n\r\n", "GET", UntilCloseBody),
        (b"nonsense\r\n\r\n", "GET", UntilCloseBody),
    ],
)
def test_the_end_of_a_response_is_known(head, method, body):
    """A response without length and chunks lasts until the connection's end."""
    assert isinstance(parse_response(head, method).body, body)


def test_an_interim_response_is_recognized():
    """But 101 Switching Protocols is final."""
    assert parse_response(b"HTTP/1.1 100 Continue\r\n\r\n", "POST").interim
    assert not parse_response(b"HTTP/1.1 101 X\r\n\r\n", "POST").interim
