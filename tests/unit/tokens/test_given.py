"""A registration token from the environment."""

import asyncio

import pytest

from sidecar.errors import TokenError
from sidecar.tokens import GivenToken

TOKEN = "AABF3JGZDX3P5PMEXLND6TS6FCWO6"


def test_it_is_read_as_a_parameter_would_be():
    """A bare token, or JSON that also says where."""
    assert asyncio.run(GivenToken(TOKEN, "X").wait(1)).token == TOKEN
    text = f'{{"token": "{TOKEN}", "url": "https://github.com/o/r"}}'
    token = asyncio.run(GivenToken(text, "X").wait(1))
    assert (token.token, token.url) == (TOKEN, "https://github.com/o/r")


def test_a_text_that_is_no_token_is_refused_without_being_shown():
    """The error names where it came from, never the text."""
    with pytest.raises(TokenError, match="SIDECAR_TOKEN") as refused:
        asyncio.run(GivenToken("no token at all!", "SIDECAR_TOKEN").wait(1))
    assert "no token at all" not in str(refused.value)


def test_it_is_usable_for_less_than_an_hour():
    """Counted from the life's start, because nothing says when it was made."""
    now = 0.0
    given = GivenToken(TOKEN, "X", clock=lambda: now)
    assert given.is_usable()
    now = 55 * 60.0
    assert not given.is_usable()
