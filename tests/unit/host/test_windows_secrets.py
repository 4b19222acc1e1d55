"""The runner's key on Windows: sealed for this machine, as its program keeps it."""

import base64
import json
import sys

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows (make test-windows)", allow_module_level=True)

from sidecar import host
from sidecar.github import GitHubError
from sidecar.host.win32 import access
from sidecar.runner.folder import KEY, RunnerFolder
from sidecar.runner.saved_identity import SavedIdentity
from sidecar.runner.state_file import SavedFile

NUMBERS = {name: base64.b64encode(b"\1").decode() for name in
           ("d", "dp", "dq", "exponent", "inverseQ", "modulus", "p", "q")}  # fmt: skip
CREDENTIALS = {"data": {"clientId": "client", "authorizationUrl": "https://example.test/"}}


def test_a_sealed_key_is_opened_on_this_machine():
    """A round trip; what is sealed shows nothing of the key."""
    key = json.dumps(NUMBERS).encode() * 20
    sealed = host.seal_runner_key(key)
    assert host.unseal_runner_key(sealed) == key
    assert b"modulus" not in sealed
    assert host.unseal_runner_key(host.seal_runner_key(b"")) == b""


def test_what_is_not_sealed_is_not_opened():
    """The runner's program cannot use a plain file either."""
    with pytest.raises(OSError, match="cannot unseal"):
        host.unseal_runner_key(json.dumps(NUMBERS).encode())


def test_a_just_in_time_key_is_sealed_in_the_runner_s_folder(tmp_path):
    """The two other files are not; each secret is for this user alone, and restored as it was."""
    key = json.dumps(NUMBERS).encode()
    files = {".runner": b"{}", ".credentials": json.dumps(CREDENTIALS).encode(), KEY: key}
    folder = RunnerFolder(tmp_path, None)
    folder.write_configuration(files)
    assert (tmp_path / ".runner").read_bytes() == b"{}"
    assert (tmp_path / ".credentials").read_bytes() == files[".credentials"]
    sealed = (tmp_path / KEY).read_bytes()
    assert host.unseal_runner_key(sealed) == key
    assert access.is_private(tmp_path / KEY)
    folder.save_copies()
    (tmp_path / KEY).write_bytes(b"a job's own")
    folder.restore_copies()
    assert (tmp_path / KEY).read_bytes() == sealed
    assert access.is_private(tmp_path / KEY)
    assert SavedIdentity(folder.copies).read_key().client_id == "client"


def test_a_key_that_cannot_be_opened_is_an_error_that_says_so():
    """A copy from another machine, for example."""
    copies = {
        ".credentials": SavedFile(json.dumps(CREDENTIALS).encode(), 0o600),
        KEY: SavedFile(b"sealed elsewhere", 0o600),
    }
    with pytest.raises(GitHubError, match="cannot read the runner's key: cannot unseal"):
        SavedIdentity(copies).read_key()
