"""A right to register that came with the environment."""

import asyncio

import pytest

from sidecar.errors import TokenError
from sidecar.tokens import GivenToken

TOKEN = "AABF3JGZDX3P5PMEXLND6TS6FCWO6"


def test_it_is_read_as_a_parameter_would_be():
    """A bare token, or JSON that also says where."""
    assert asyncio.run(GivenToken(TOKEN, "X").arrived(1)).token == TOKEN
    text = f'{{"token": "{TOKEN}", "url": "https://github.com/o/r"}}'
    right = asyncio.run(GivenToken(text, "X").arrived(1))
    assert (right.token, right.url) == (TOKEN, "https://github.com/o/r")


def test_what_is_none_is_refused_without_being_shown():
    """The error names where it came from, never what stood there."""
    with pytest.raises(TokenError, match="SIDECAR_TOKEN") as refused:
        asyncio.run(GivenToken("no token at all!", "SIDECAR_TOKEN").arrived(1))
    assert "no token at all" not in str(refused.value)


def test_it_is_relied_on_for_less_than_an_hour():
    """Counted from the life's start, since nobody says when it was made."""
    now = 0.0
    given = GivenToken(TOKEN, "X", clock=lambda: now)
    assert given.usable()
    now = 55 * 60.0
    assert not given.usable()
