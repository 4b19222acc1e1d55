"""A token parameter whose value is sealed: the agent alone has the key."""

import json

import pytest

from sidecar import tokens
from sidecar.aws import sealing
from sidecar.errors import TokenError
from sidecar.log import masks
from sidecar.shutdown.cleanup import CleanupStack
from tests.support.loops import run
from tests.unit.tokens.test_throttled import TOKEN, ParameterStore

NAME, KEY = "/runners/0f3a", sealing.make_key()


def read(key, *, task="0f3a"):
    """Read a token that is sealed for a task."""
    store = ParameterStore()
    store.text = sealing.seal(json.dumps({"token": TOKEN, "keep": True}), KEY, task)

    async def wait():
        parameter = tokens.claim_parameter(store, NAME, CleanupStack(), for_task=True, key=key)
        return await parameter.wait(600)

    return run("asyncio", wait())


def test_the_agent_opens_its_token_with_its_key(monkeypatch):
    """Neither token nor key is ever in the log."""
    monkeypatch.setattr(masks, "_secrets", set())
    token = read(KEY)
    assert (token.token, token.keep) == (TOKEN, True)
    shown = masks.mask_known_secrets(f"read {TOKEN} with {KEY}")
    assert TOKEN not in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("key", "task", "words"),
    [
        (None, "0f3a", r"it is sealed \(SIDECAR_TOKEN_KEY is missing\)"),
        (sealing.make_key(), "0f3a", r"it is sealed with another key \(SIDECAR_TOKEN_KEY\)"),
        (KEY, "0f3b", r"it is sealed with another key \(SIDECAR_TOKEN_KEY\)"),
    ],
    ids=["no key", "another key", "another task"],
)
def test_a_token_that_the_key_does_not_open_is_refused(key, task, words):
    """The error names parameter and setting, and shows neither value nor key."""
    with pytest.raises(TokenError, match=f"^cannot use the token parameter {NAME}: {words}$"):
        read(key, task=task)
