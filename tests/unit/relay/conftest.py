"""Fixtures of the relay tests."""

from tests.support.upstream import front, hasty, run, say, time, upstream  # noqa: F401
