"""Fixtures of the tests of docker's parts."""

import pytest

from sidecar.docker import engine


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Wait for an engine that answers, however busy the machine is."""
    monkeypatch.setattr(engine, "DEADLINE", 60.0)
