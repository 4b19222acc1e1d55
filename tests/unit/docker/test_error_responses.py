"""The proxy's own errors have the engine's form."""

from __future__ import annotations

import json

from sidecar.docker.error_responses import render_error


def test_an_error_is_json_with_a_message():
    """The Content-Length is that of the body, which docker clients show to their user."""
    head, _, body = render_error(403, 'no "x" here').partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert b"Connection" not in head
    assert json.loads(body) == {"message": 'no "x" here'}


def test_the_last_response_of_a_connection_says_so():
    """The client must not send another request on it."""
    assert b"\r\nConnection: close\r\n\r\n" in render_error(400, "malformed", close=True)
