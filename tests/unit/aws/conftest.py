"""Fixtures of the AWS tests."""

from tests.support.upstream import hasty, run, say, time, upstream  # noqa: F401
