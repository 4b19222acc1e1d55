"""Fixtures of the network tests."""

from tests.support.upstream import run  # noqa: F401
