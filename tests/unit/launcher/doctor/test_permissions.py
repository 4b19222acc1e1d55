"""The permissions of an App against what a launch needs."""

import pytest

from launcher.doctor.permissions import describe_lacks

WANTED = {"administration": "write", "actions": "read"}


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"administration": "write", "actions": "read"}, ""),
        ({"administration": "admin", "actions": "write"}, ""),
        ({"administration": "read", "actions": "read"}, "administration is read, write is needed"),
        (
            {},
            "administration is none, write is needed, actions is none, read is needed",
        ),
    ],
)
def test_what_is_missing_or_too_low_is_named(given, lacks):
    """A higher level holds the lower ones."""
    assert describe_lacks(given, WANTED) == lacks
