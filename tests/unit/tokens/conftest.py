"""Fixtures of the token tests."""

import pytest
import stamina.instrumentation
from aiobotocore.session import get_session

from sidecar.aws import calls
from sidecar.aws import session as aws_session
from sidecar.log import masks

LOADER = get_session().get_component("data_loader")


def make_session():
    """Make a session as the library does, with the loader that all tests share."""
    made = get_session()
    made.register_component("data_loader", LOADER)
    return made


@pytest.fixture
def short_pauses(monkeypatch):
    """Give dummy credentials and short pauses; keep tokens out of the other tests' logs."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setattr(masks, "_secrets", set())
    # The service's description is parsed once for all tests, not once for each.
    monkeypatch.setattr(aws_session, "get_session", make_session)
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.02, longest=0.05)
    )
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)
