"""Access lists, as Windows itself reads them: where POSIX has modes."""

import ctypes
import json
import secrets
import subprocess
from contextlib import contextmanager
from ctypes import wintypes

import pytest

from sidecar import host
from tests.windows.native import powershell

SYSTEM, EVERYONE = "S-1-5-18", "S-1-1-0"
NETWORK_LOGON, DEFAULT_PROVIDER = 3, 0
READ_LIST = """
$list = Get-Acl -LiteralPath '{path}'
$rules = @($list.GetAccessRules($true, $true, [Security.Principal.SecurityIdentifier]) |
    ForEach-Object {{ $_.IdentityReference.Value }})
ConvertTo-Json -Compress @{{ closed = $list.AreAccessRulesProtected; who = $rules }}
"""


def read_list(path):
    """Return who may do anything with a file or folder, and whether it inherits nothing."""
    done = powershell.run(READ_LIST.format(path=path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return set(found["who"]), found["closed"]


@pytest.fixture(scope="module")
def own_sid():
    """Return the identity of this process's user."""
    name = "[Security.Principal.WindowsIdentity]::GetCurrent().User.Value"
    return powershell.run(name).stdout.strip()


def test_a_secret_file_is_its_owner_s_alone(tmp_path, own_sid):
    """What has the mode 0600 elsewhere: its user and SYSTEM, and nothing from the folder above."""
    path = tmp_path / "secret"
    host.write_new(path, b"key", 0o600, None)
    who, closed = read_list(path)
    assert closed, "it inherits the rights of its folder"
    assert who == {own_sid, SYSTEM}
    assert path.read_bytes() == b"key"


def test_a_fresh_folder_is_its_owner_s_alone(tmp_path, own_sid):
    """And so is what is made in it later, by whichever program."""
    path = host.make_fresh_folder(tmp_path, ("one",), None)
    (path / "one" / "later").write_text("x")
    assert read_list(path) == ({own_sid, SYSTEM}, True)
    for below in (path / "one", path / "one" / "later"):
        assert read_list(below)[0] == {own_sid, SYSTEM}


@pytest.fixture
def other_user():
    """Make a user for one test; return what becomes that user within a block."""
    name, password = "sidecar-other", f"{secrets.token_hex(5)}aA1!"  # `net` asks about longer ones
    run_net("user", name, password, "/add")
    try:
        yield lambda: impersonate(name, password)
    finally:
        run_net("user", name, "/delete")


def run_net(*words):
    """Run the program that manages users."""
    subprocess.run(["net", *words], stdin=subprocess.DEVNULL, capture_output=True, check=True)


@contextmanager
def impersonate(name, password):
    """Use files as another user within the block, in this thread."""
    token = wintypes.HANDLE()
    logon = ctypes.WinDLL("advapi32", use_last_error=True)
    given = (name, ".", password, NETWORK_LOGON, DEFAULT_PROVIDER, ctypes.byref(token))
    if not logon.LogonUserW(*given) or not logon.ImpersonateLoggedOnUser(token):
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        yield
    finally:
        logon.RevertToSelf()
        ctypes.windll.kernel32.CloseHandle(token)


def test_another_user_cannot_read_it(tmp_path, other_user):
    """Windows itself refuses a secret; what everyone may read, that user can read."""
    secret, public = tmp_path / "secret", tmp_path / "public"
    for path in (secret, public):
        host.write_new(path, b"key", 0o600, None)
    everyone = ["icacls", str(public), "/grant", f"*{EVERYONE}:R"]
    subprocess.run(everyone, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    with other_user():
        assert public.read_bytes() == b"key"
        with pytest.raises(PermissionError):
            secret.read_bytes()
    assert secret.read_bytes() == b"key"
