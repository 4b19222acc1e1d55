"""Who a runner is at GitHub, from the copies of its files."""

import json

import pytest

from sidecar.github import GitHubError
from sidecar.runner.saved_identity import SavedIdentity
from sidecar.runner.state_file import SavedFile


def identity(settings, **files):
    """Make the identity of a runner whose `.runner` has this content; None: it is missing."""
    copy = None if settings is None else SavedFile(settings, 0o644)
    return SavedIdentity({".runner": copy, **files})


@pytest.mark.parametrize(
    ("settings", "runner_id", "admin_flow"),
    [
        (b'\xef\xbb\xbf{"agentId": 7, "useV2Flow": true}', 7, False),
        (b'{"agentId": 7, "useRunnerAdminFlow": true}', 7, True),
        (b'{"AgentId": "7", "UseRunnerAdminFlow": "True"}', 7, True),
        (b'{"agentId": 7, "useRunnerAdminFlow": false}', 7, False),
        (b'{"agentId": "x"}', None, False),
        (b"[]", None, False),
        (b"[" * 100_000, None, False),
        (None, None, False),
    ],
)
def test_number_and_flow_are_in_runner(settings, runner_id, admin_flow):
    """In either spelling; `useV2Flow` is not the admin flow; what is invalid says nothing."""
    found = identity(settings)
    assert (found.runner_id, found.admin_flow) == (runner_id, admin_flow)


def test_without_a_copy_of_the_key_it_cannot_be_read():
    """Or with one that is no key."""
    with pytest.raises(GitHubError, match="there is no copy of its key"):
        identity(b"{}").read_key()
    broken = SavedFile(json.dumps({}).encode(), 0o600)
    with pytest.raises(GitHubError, match="cannot read the runner's key"):
        identity(b"{}", **{".credentials": broken, ".credentials_rsaparams": broken}).read_key()
