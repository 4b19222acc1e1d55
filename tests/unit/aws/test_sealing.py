"""Sealed values: the parameter alone, or the key alone, is worth nothing."""

import pytest

from sidecar.aws import sealing

KEY = sealing.make_key()
TEXT = '{"token": "AREGISTRATIONTOKEN"}'


def test_only_the_key_opens_a_sealed_value():
    """The value shows nothing of the text, and the same text never looks the same."""
    sealed = sealing.seal(TEXT, KEY, "0f3a")
    assert sealing.is_sealed(sealed)
    assert not sealing.is_sealed(TEXT)
    assert "TOKEN" not in sealed
    assert sealed != sealing.seal(TEXT, KEY, "0f3a")
    assert sealing.unseal(sealed, KEY, "0f3a") == TEXT


@pytest.mark.parametrize(
    ("key", "task", "change"),
    [
        (sealing.make_key(), "0f3a", ""),
        (KEY, "0f3b", ""),
        (KEY, "0f3a", "AAAA"),
        ("short", "0f3a", ""),
        ("", "0f3a", ""),
        ("ü", "0f3a", ""),
        (KEY, "0f3a", "é"),
    ],
    ids=["key", "task", "value", "short key", "no key", "no base64", "no ascii"],
)
def test_another_key_task_or_value_is_refused(key, task, change):
    """A value that was put under another task's name is not taken either."""
    with pytest.raises(ValueError, match="it is sealed with another key"):
        sealing.unseal(sealing.seal(TEXT, KEY, "0f3a") + change, key, task)


@pytest.mark.parametrize("value", ["sealed:", "sealed:AAAA", "sealed:!"])
def test_a_broken_value_is_refused(value):
    """It is too short, or no base64."""
    with pytest.raises(ValueError, match="it is sealed with another key"):
        sealing.unseal(value, KEY, "0f3a")
