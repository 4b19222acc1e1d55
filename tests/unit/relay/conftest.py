"""Fixtures of the relay tests."""

from tests.support.upstream import core, hasty, run, say, time, upstream  # noqa: F401
