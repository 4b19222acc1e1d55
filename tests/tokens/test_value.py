"""What a token parameter may hold."""

import json

import pytest

from sidecar.errors import TokenError
from sidecar.tokens.value import Registration, parse

TOKEN = "AABBCCDD1234567890EXAMPLE"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TOKEN, Registration(TOKEN)),
        (f"  {TOKEN}\n", Registration(TOKEN)),
        (json.dumps({"token": TOKEN}), Registration(TOKEN)),
        (
            json.dumps({"token": f" {TOKEN} ", "url": "", "name": None, "labels": []}),
            Registration(TOKEN),
        ),
        (
            json.dumps(
                {
                    "token": TOKEN,
                    "url": "https://github.com/o/r/",
                    "name": "n",
                    "labels": ["a", "b"],
                    "expires_at": "2030-01-01T00:00:00Z",
                }
            ),
            Registration(TOKEN, "https://github.com/o/r", "n", ("a", "b")),
        ),
        (json.dumps({"token": TOKEN, "labels": "a, b"}), Registration(TOKEN, labels=("a", "b"))),
    ],
)
def test_a_token_is_bare_or_json(text, found):
    """With what its giver says of where and as what; the rest is overlooked."""
    assert parse(text, "the token parameter /t") == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its value is empty"),
        (" \n", "its value is empty"),
        ("short", "its value is neither a registration token nor JSON"),
        ("with blanks in it SECRET", "its value is neither a registration token nor JSON"),
        ("--unattended-SECRET", "its value is neither a registration token nor JSON"),
        ("X" * 4097, "its value is neither a registration token nor JSON"),
        ('["SECRET"]', "its value is neither a registration token nor JSON"),
        ("{SECRET", "its JSON is malformed: Expecting property name"),
        ('{"token": "SECRET"', "its JSON is malformed: "),
        ('{"a":' + "[" * 100000, "its JSON is malformed: maximum recursion"),
        ("{}", 'its JSON holds no "token"'),
        ('{"token": 1}', 'its JSON holds no "token"'),
        ('{"token": " "}', 'its JSON holds no "token"'),
        ('{"token": "a b SECRET"}', "its value is neither a registration token nor JSON"),
        (
            f'{{"token": "{TOKEN}", "url": "http://github.com/o"}}',
            'its "url" must begin with https',
        ),
        (f'{{"token": "{TOKEN}", "url": 5}}', 'its "url" '),
        (f'{{"token": "{TOKEN}", "url": ["x"]}}', 'its "url" '),
        (f'{{"token": "{TOKEN}", "name": "-n"}}', 'its "name" must be 1 to 64'),
        (f'{{"token": "{TOKEN}", "name": 5}}', 'its "name" '),
        (f'{{"token": "{TOKEN}", "labels": [1]}}', 'its "labels" must be labels'),
        (f'{{"token": "{TOKEN}", "labels": {{"a": 1}}}}', 'its "labels" must be labels'),
    ],
)
def test_anything_else_is_refused_without_being_quoted(text, why):
    """The error names the parameter and what is wrong with it, never what it holds."""
    with pytest.raises(TokenError) as refused:
        parse(text, "the token parameter /t")
    said = str(refused.value)
    assert said.startswith(f"cannot use the token parameter /t: {why}")
    assert "SECRET" not in said
    assert TOKEN not in said


def test_a_registration_does_not_show_its_token():
    """Not even by accident, in a debugger's or a traceback's repr."""
    assert TOKEN not in repr(parse(TOKEN, "/t"))
