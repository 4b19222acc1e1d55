"""What the unit tests share: the agent's code must not kill children of the test run."""

from __future__ import annotations

import pytest
import stamina.instrumentation

from sidecar import host, process
from sidecar.github import api


@pytest.fixture
def spare_children():
    """Let the agent's code treat the run's own children as waited for; yield their pids.

    Another test's docker engine is such a child. The patch is of its own, so that a test which
    undoes its own patches does not undo this one.
    """
    own = {*host.list_children(), *host.list_dead_children()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(process, "_waited_for", set(own))
        yield own


@pytest.fixture
def short_github_pauses(monkeypatch):
    """Retry GitHub's calls after a moment, and without the library's own log."""
    backoff = api.backoff

    def make_short():
        pause = backoff()
        return lambda error: 0.001 if pause(error) is not False else False

    monkeypatch.setattr(api, "backoff", make_short)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)
