"""The values of settings that may be in a file."""

import pytest

from sidecar.settings.given_files import read_session_policy


def test_a_session_policy_is_json_or_a_file(tmp_path):
    """It is the same in both."""
    policy = '{ "Statement": [ ] }'
    (tmp_path / "policy.json").write_text(policy)
    for given in (policy, f"file:{tmp_path}/policy.json"):
        assert read_session_policy(given) == '{"Statement":[]}'


def test_a_mounted_file_may_be_a_link(tmp_path):
    """Kubernetes mounts two links of root's, one of them to a folder."""
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "policy").write_text('{"Statement":[]}')
    (tmp_path / "..data").symlink_to("version")
    (tmp_path / "policy").symlink_to("..data/policy")
    assert read_session_policy(f"file:{tmp_path}/policy") == '{"Statement":[]}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read from .*: No such file"),
        (b"\xff", "cannot be read from .*: it is not text"),
        (b" " * (1 << 20) + b"{}", "cannot be read from .*: it is longer than 1048576 bytes"),
        (b"{", "must be JSON"),
    ],
    ids=["missing", "no-text", "too-long", "no-json"],
)
def test_a_file_without_a_policy_is_refused(tmp_path, content, reason):
    """With the reason, and the path."""
    if content is not None:
        (tmp_path / "policy").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_session_policy(f"file:{tmp_path}/policy")
